//! Device-mapper: `/dev/mapper/control` and its one ioctl.
