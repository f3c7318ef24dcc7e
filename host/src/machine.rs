//! The machine this runs on, and the memory this process has of it.

use serde::Serialize;
use std::fs;

/// What decides how fast things go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Those of its instruction sets that decide which kernels run.
    pub cpu_features: Vec<&'static str>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in all.
    pub memory_gib: Option<f64>,
    /// Memory that is free or can be freed.
    pub memory_available_gib: Option<f64>,
}

impl Machine {
    /// Looks at the machine as it is now.
    pub fn here() -> Self {
        let memory = |key| Some(kib("/proc/meminfo", key)? as f64 / f64::from(1 << 20));
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cpu_features: cpu_features(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory("MemTotal"),
            memory_available_gib: memory("MemAvailable"),
        }
    }
}

/// Bytes of memory that the machine has; None where the system does not say.
pub fn memory() -> Option<u64> {
    Some(kib("/proc/meminfo", "MemTotal")? << 10)
}

/// Bytes of memory this process holds now; None where the system does not say.
pub fn resident() -> Option<u64> {
    Some(kib("/proc/self/status", "VmRSS")? << 10)
}

/// The most bytes of memory this process has held at once since the last [`reset_peak`] that succeeded.
pub fn peak() -> Option<u64> {
    Some(kib("/proc/self/status", "VmHWM")? << 10)
}

/// Bytes as a person says them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{:.0} KiB", bytes as f64 / f64::from(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Makes [`peak`] start again at what is held now; false where the system does not allow it.
pub fn reset_peak() -> bool {
    // proc(5): 5 resets the peak resident set size to the current one.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The first `key: N kB` of a file under /proc.
fn kib(path: &str, key: &str) -> Option<u64> {
    field(path, key)?.split(' ').next()?.parse().ok()
}

/// The first `key: value` of a file under /proc.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_peak_follows_what_is_touched() {
        // Other tests of this process come and go, and reset the peak: only what this one holds is certain.
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(resident().unwrap() >= touched.len() as u64 / 2);
        assert!(peak().unwrap() >= touched.len() as u64 / 2);
        assert!(std::hint::black_box(&touched).iter().all(|b| *b == 1));
    }
}
