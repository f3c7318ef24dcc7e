//! What the encoders `autoencoder` and `guided` share: both train a small network to let a decoder reconstruct
//! responses.
//!
//! `layers` are the network's parts, `training` the order, the learning rate and the held-out rows, `report` the
//! figures, `state` the saved form.

pub mod layers;
pub mod report;
pub mod state;
pub mod training;

use ldalign_sdk::Error;

/// A tensor operation failed: a fault of the plugin or of the machine. Only candle's first line is for people.
pub fn tensor_fault(error: candle_core::Error) -> Error {
    Error::failed(error.to_string().lines().next().unwrap_or_default())
}

/// Fails unless the sizes, given by the names of their options, are above 0, and so is the learning rate.
pub fn check_options(sizes: &[(&str, usize)], learning_rate: f64) -> Result<(), Error> {
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
        return Err(Error::options(format!("{name} must be at least 1")));
    }
    if !(learning_rate > 0.0 && learning_rate.is_finite()) {
        return Err(Error::options(format!("learning_rate {learning_rate} must be a number above 0")));
    }
    Ok(())
}
