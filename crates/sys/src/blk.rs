//! Block devices and files as stores: size, alignment, direct I/O.
