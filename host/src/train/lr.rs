//! The learning rate of a step.

use crate::config::{LrSchedulerType, TrainConfig};
use std::f64::consts::PI;

/// Learning rate of optimizer step `step` (from 0) of `total`, as transformers' schedulers give it: a linear warm-up
/// from 0 over `warmup_steps` or `ceil(warmup_ratio * total)` steps, then constant, or along a line or half a cosine to
/// 0, or to the least rate asked for, at step `total`.
pub fn learning_rate(config: &TrainConfig, step: u64, total: u64) -> f64 {
    let warmup = match config.warmup_steps {
        0 => (config.warmup_ratio * total as f64).ceil().min(total as f64),
        steps => steps as f64,
    };
    let step = step as f64;
    let factor = if step < warmup {
        step / warmup
    } else {
        let done = (step - warmup) / (total as f64 - warmup).max(1.0);
        match config.lr_scheduler_type {
            LrSchedulerType::Constant => 1.0,
            LrSchedulerType::Linear => (1.0 - done).max(0.0),
            LrSchedulerType::Cosine => half_cosine(done),
            LrSchedulerType::CosineWithMinLr => {
                // A config whose kwargs say none was refused when it was read.
                let least = config.min_lr_rate().ok().flatten().unwrap_or(0.0);
                half_cosine(done) * (1.0 - least) + least
            }
        }
    };
    config.learning_rate * factor
}

fn half_cosine(done: f64) -> f64 {
    (0.5 * (1.0 + (PI * done).cos())).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SchedulerKwargs;

    /// transformers 5.23, `get_scheduler(kind, torch.optim.SGD([p], lr=1.0), 3, 10)`, `get_last_lr()` before each step.
    #[test]
    fn equals_transformers() {
        use LrSchedulerType::*;
        // The first three steps warm up, whatever follows.
        let warmup = [0.0, 0.3333333333333333, 0.6666666666666666];
        let after = [
            (Constant, [1.0; 7]),
            (
                Linear,
                [
                    1.0,
                    0.8571428571428571,
                    0.7142857142857143,
                    0.5714285714285714,
                    0.42857142857142855,
                    0.2857142857142857,
                    0.14285714285714285,
                ],
            ),
            (
                Cosine,
                [
                    1.0,
                    0.9504844339512095,
                    0.8117449009293668,
                    0.6112604669781572,
                    0.38873953302184283,
                    0.18825509907063326,
                    0.04951556604879048,
                ],
            ),
            (
                CosineWithMinLr,
                [
                    1.0,
                    0.9554359905560885,
                    0.8305704108364301,
                    0.6501344202803414,
                    0.44986557971965857,
                    0.26942958916356996,
                    0.14456400944391146,
                ],
            ),
        ];
        for (lr_scheduler_type, after) in after {
            let rates = warmup.into_iter().chain(after);
            let least = SchedulerKwargs { min_lr: None, min_lr_rate: Some(0.1) };
            let lr_scheduler_kwargs = (lr_scheduler_type == CosineWithMinLr).then_some(least);
            let by_share = TrainConfig {
                learning_rate: 1.0,
                warmup_ratio: 0.25,
                lr_scheduler_type,
                lr_scheduler_kwargs,
                ..Default::default()
            };
            let by_steps = TrainConfig { warmup_steps: 3, warmup_ratio: 0.9, ..by_share.clone() };
            for (step, rate) in rates.enumerate() {
                for config in [&by_share, &by_steps] {
                    let got = learning_rate(config, step as u64, 10);
                    assert!((got - rate).abs() < 1e-15, "{lr_scheduler_type:?}, step {step}: {got}, expected {rate}");
                }
            }
        }
    }
}
