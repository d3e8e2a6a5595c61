//! The simulated disk.

mod image;

pub use image::DiskImage;
