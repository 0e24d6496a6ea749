//! Attention on the current device.
