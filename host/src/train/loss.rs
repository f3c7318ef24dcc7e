//! The losses of preference pairs in closed form, each with its derivative.
//!
//! With the log-ratios `c = log pi(y|x) - log ref(y|x)` of the chosen and `r` of the rejected response,
//! `x = beta (c - r)`:
//!
//! | loss | l | source |
//! |---|---|---|
//! | sigmoid | `-log s(x)` | DPO, arXiv 2305.18290, eq. 7; SPIN, arXiv 2401.01335, eq. 4.7 |
//! | with label smoothing e | `-(1 - e) log s(x) - e log s(-x)` | cDPO, Mitchell 2023, eq. 3 |
//! | hinge | `max(0, 1 - x)` | SLiC-HF, arXiv 2305.10425, normalised as RSO, arXiv 2309.06657 |
//! | ipo | `(c / abs(y) - r / abs(y') - 1 / (2 beta))^2` | IPO, arXiv 2310.12036, eq. 17, token means as in TRL |
//! | sft | 0: the second term of a step alone | |
//!
//! A step over the pairs i = 1..n with weights w minimises
//!
//! ```text
//! L = sum_i w_i l_i / n  +  sft_weight * sum_i -log pi(y_i|x_i) / sum_i |y_i|
//! ```
//!
//! The weights' denominator is n and not their sum over the step: they average 1 over the round, and dividing by a
//! step's own sum would take away what they say about pairs of different steps. With all weights 1, L is the mean of
//! plain DPO. The second term (RPO, arXiv 2404.19733, eq. 1, with TRL's `loss_type: [sigmoid, sft]` normalisation: the
//! mean over the step's chosen tokens) holds the chosen responses up whatever their distance, so it carries no weights.

use crate::{
    Code, Error, Result,
    config::{LossType, TrainConfig},
};

/// Loss and its derivative with respect to the summed log-probabilities of [chosen, rejected].
pub type Valued = (f64, [f64; 2]);

/// A checked choice of loss.
#[derive(Debug, Clone, Copy)]
pub struct PairLoss {
    kind: LossType,
    beta: f64,
    label_smoothing: f64,
}

impl PairLoss {
    /// Takes the loss of a configuration. Fails with `config/train` where its numbers make no loss.
    pub fn new(config: &TrainConfig) -> Result<Self> {
        let &TrainConfig { loss_type: kind, beta, label_smoothing, sft_weight, .. } = config;
        let bad = |what: String| Err(Error::new(Code::ConfigTrain, what));
        if !(beta > 0.0 && beta.is_finite()) {
            return bad(format!("beta is {beta}; expected a number above 0"));
        }
        if !(0.0..0.5).contains(&label_smoothing) {
            return bad(format!("label_smoothing is {label_smoothing}; expected 0 up to, not including, 0.5"));
        }
        if label_smoothing > 0.0 && kind != LossType::Sigmoid {
            return bad("label_smoothing is defined for loss_type sigmoid alone; set it to 0".into());
        }
        if !(sft_weight >= 0.0 && sft_weight.is_finite()) {
            return bad(format!("sft_weight is {sft_weight}; expected 0 or more"));
        }
        if kind == LossType::Sft && sft_weight == 0.0 {
            return bad("sft_weight is 0, and loss_type sft trains nothing else; set it to 1".into());
        }
        Ok(Self { kind, beta, label_smoothing })
    }

    /// Loss of one pair from its log-ratios and token counts, [chosen, rejected] each.
    pub fn of(&self, [chosen, rejected]: [f64; 2], tokens: [usize; 2]) -> Valued {
        let x = self.beta * (chosen - rejected);
        // Loss and derivative with respect to x, for the losses of x alone.
        let (loss, derivative) = match self.kind {
            LossType::Sigmoid => {
                let e = self.label_smoothing;
                ((1.0 - e) * softplus(-x) + e * softplus(x), e * sigmoid(x) - (1.0 - e) * sigmoid(-x))
            }
            LossType::Sft => (0.0, 0.0),
            LossType::Hinge => ((1.0 - x).max(0.0), if x < 1.0 { -1.0 } else { 0.0 }),
            LossType::Ipo => {
                let [y, z] = tokens.map(|n| n as f64);
                let miss = chosen / y - rejected / z - 0.5 / self.beta;
                return (miss * miss, [2.0 * miss / y, -2.0 * miss / z]);
            }
        };
        (loss, [self.beta * derivative, -self.beta * derivative])
    }

    /// The implicit reward of a log-ratio.
    pub fn reward(&self, logratio: f64) -> f64 {
        self.beta * logratio
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// log(1 + e^x) = -log s(-x), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn loss(loss_type: LossType, beta: f64, label_smoothing: f64) -> PairLoss {
        PairLoss::new(&TrainConfig { loss_type, beta, label_smoothing, ..Default::default() }).unwrap()
    }

    #[test]
    fn derivatives_are_those_of_the_losses() {
        let losses = [
            loss(LossType::Sigmoid, 0.1, 0.0),
            loss(LossType::Sigmoid, 2.0, 0.2),
            loss(LossType::Hinge, 0.5, 0.0),
            loss(LossType::Ipo, 0.3, 0.0),
        ];
        let h = 1e-5;
        for l in losses {
            for [c, r] in [[0.0, 0.0], [3.0, -1.0], [-4.0, 2.5], [-0.3, -0.2]] {
                let (_, d) = l.of([c, r], [3, 7]);
                let f = |c, r| l.of([c, r], [3, 7]).0;
                let numeric = [(f(c + h, r) - f(c - h, r)) / (2.0 * h), (f(c, r + h) - f(c, r - h)) / (2.0 * h)];
                for (a, b) in d.iter().zip(numeric) {
                    assert!((a - b).abs() < 1e-8, "{l:?} at {c} {r}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn extreme_margins_stay_finite() {
        let l = loss(LossType::Sigmoid, 1.0, 0.0);
        assert_eq!(l.of([1e4, -1e4], [1, 1]), (0.0, [-0.0, 0.0]));
        assert_eq!(l.of([-1e4, 1e4], [1, 1]), (2e4, [-1.0, 1.0]));
        assert_eq!(l.of([0.0, 0.0], [1, 1]).0, std::f64::consts::LN_2);
    }

    #[test]
    fn numbers_that_make_no_loss_are_refused() {
        let refuse = |c: TrainConfig| PairLoss::new(&c).err().unwrap().to_string();
        let base = TrainConfig::default;
        assert_eq!(refuse(TrainConfig { beta: 0.0, ..base() }), "beta is 0; expected a number above 0");
        assert_eq!(
            refuse(TrainConfig { label_smoothing: 0.5, ..base() }),
            "label_smoothing is 0.5; expected 0 up to, not including, 0.5"
        );
        assert_eq!(
            refuse(TrainConfig { label_smoothing: 0.1, loss_type: LossType::Ipo, ..base() }),
            "label_smoothing is defined for loss_type sigmoid alone; set it to 0"
        );
        assert_eq!(
            refuse(TrainConfig { loss_type: LossType::Sft, ..base() }),
            "sft_weight is 0, and loss_type sft trains nothing else; set it to 1"
        );
        assert_eq!(refuse(TrainConfig { sft_weight: f64::NAN, ..base() }), "sft_weight is NaN; expected 0 or more");
    }
}
