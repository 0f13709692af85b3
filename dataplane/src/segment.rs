//! Software segmentation of super-frames and completion of partial checksums.
