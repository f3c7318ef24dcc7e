//! The name of a device.

use crate::{Code, Error, Result};

/// The GPU that a device's name stands for: `cuda:N`, or `cuda` for the first; none for `cpu`.
///
/// Fails with `config/device` for any other name, and for a GPU where the build has no CUDA.
pub fn gpu(name: &str) -> Result<Option<usize>> {
    let number = match name.strip_prefix("cuda") {
        None if name == "cpu" => return Ok(None),
        Some("") => Some(0),
        // Not `parse` alone, which would take `+1`.
        Some(rest) => {
            rest.strip_prefix(':').filter(|n| n.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok())
        }
        None => None,
    };
    match number {
        None => Err(Error::new(Code::ConfigDevice, format!("expected cpu or cuda:N, found {name:?}"))
            .hint("write device: cpu, or cuda:0 for the first GPU")),
        Some(_) if !cfg!(feature = "cuda") => {
            Err(Error::new(Code::ConfigDevice, format!("this build has no CUDA, so it cannot use {name}"))
                .hint("build with --features cuda, or use device: cpu"))
        }
        gpu => Ok(gpu),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::gpu;

    #[test]
    fn names() {
        assert_eq!(gpu("cpu").unwrap(), None);
        for (name, n) in [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)] {
            match cfg!(feature = "cuda") {
                true => assert_eq!(gpu(name).unwrap(), Some(n)),
                false => assert!(gpu(name).unwrap_err().message().starts_with("this build has no CUDA")),
            }
        }
        for name in ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:+1", "cuda:-1", "cuda0", "cuda:0:1"] {
            assert!(gpu(name).unwrap_err().message().starts_with("expected cpu or cuda:N"), "{name}");
        }
    }
}
