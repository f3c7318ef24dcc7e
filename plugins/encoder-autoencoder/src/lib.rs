//! Latents.
