//! What clients are answered, on clusters whose network and disks work.

mod cluster;
mod keys;
mod locks;
