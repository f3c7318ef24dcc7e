//! The losses of preference pairs in closed form, each with its derivative.
//!
//! With the log-ratios `c = log pi(y|x) - log ref(y|x)` of the chosen and `r` of the rejected response,
//! `x = beta (c - r)`, s the logistic function and e = `label_smoothing`:
//!
//! | loss | l | source |
//! |---|---|---|
//! | sigmoid | `-(1 - e) log s(x) - e log s(-x)` | DPO, arXiv 2305.18290, eq. 7; SPIN, arXiv 2401.01335, eq. 4.7 |
//! | with e | | cDPO, Mitchell 2023, eq. 3 |
//! | robust | `(-(1 - e) log s(x) + e log s(-x)) / (1 - 2 e)` | robust DPO, arXiv 2403.00409, eq. 12 |
//! | exo_pair | `s(x) log(s(x) / (1 - e)) + s(-x) log(s(-x) / e)` | EXO, arXiv 2402.00856, eq. 16 |
//! | hinge | `max(0, 1 - x)` | SLiC-HF, arXiv 2305.10425, normalised as RSO, arXiv 2309.06657 |
//! | ipo | `(c / abs(y) - r / abs(y') - 1 / (2 beta))^2` | IPO, arXiv 2310.12036, eq. 17, token means as in TRL |
//! | sigmoid_norm | `-log s(beta (c / abs(y) - r / abs(y')))` | as TRL |
//! | nca_pair | `-log s(beta c) - log s(-beta c) / 2 - log s(-beta r) / 2` | NCA, arXiv 2402.05369, as TRL |
//! | sppo_hard | `(c - 1 / (2 beta))^2 + (r + 1 / (2 beta))^2` | SPPO, arXiv 2405.00675, eq. 4.7 with hard labels |
//! | apo_zero | `s(-beta c) + s(beta r)` | APO, arXiv 2408.06266, eq. 7 |
//! | apo_down | `s(beta c) + s(-x)` | APO, eq. 8 |
//! | sft | 0: the second term of a step alone | |
//!
//! Of several losses l is the sum, each times its weight.
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
    config::{LossType, Losses, TrainConfig},
};

/// Loss and its derivative with respect to the summed log-probabilities of [chosen, rejected].
pub type Valued = (f64, [f64; 2]);

/// A checked choice of losses.
#[derive(Debug, Clone)]
pub struct PairLoss {
    losses: Losses,
    beta: f64,
    label_smoothing: f64,
}

impl PairLoss {
    /// Takes the losses of a configuration. Fails with `config/train` where its numbers make none.
    pub fn new(config: &TrainConfig) -> Result<Self> {
        let fault = |(key, what): (&str, String)| Error::new(Code::ConfigTrain, format!("{key} {what}"));
        let losses = config.losses().map_err(fault)?;
        Ok(Self { losses, beta: config.beta, label_smoothing: config.label_smoothing })
    }

    /// Weight of the SFT term.
    pub fn sft(&self) -> f64 {
        self.losses.sft
    }

    /// Loss of one pair from its log-ratios and token counts, [chosen, rejected] each.
    pub fn of(&self, ratios: [f64; 2], tokens: [usize; 2]) -> Valued {
        let (mut sum, mut derivatives) = (0.0, [0.0; 2]);
        for (kind, weight) in &self.losses.of_pairs {
            let (loss, [d_chosen, d_rejected]) = self.one(*kind, ratios, tokens);
            sum += weight * loss;
            derivatives[0] += weight * d_chosen;
            derivatives[1] += weight * d_rejected;
        }
        (sum, derivatives)
    }

    fn one(&self, kind: LossType, [chosen, rejected]: [f64; 2], tokens: [usize; 2]) -> Valued {
        let (beta, e) = (self.beta, self.label_smoothing);
        let x = beta * (chosen - rejected);
        let [y, z] = tokens.map(|n| n as f64);
        // Loss and derivative with respect to x, for the losses of x alone.
        let of_x = |(loss, derivative): (f64, f64)| (loss, [beta * derivative, -beta * derivative]);
        match kind {
            LossType::Sigmoid => {
                of_x(((1.0 - e) * softplus(-x) + e * softplus(x), e * sigmoid(x) - (1.0 - e) * sigmoid(-x)))
            }
            LossType::Robust => {
                let loss = (1.0 - e) * softplus(-x) - e * softplus(x);
                let derivative = -(1.0 - e) * sigmoid(-x) - e * sigmoid(x);
                of_x((loss / (1.0 - 2.0 * e), derivative / (1.0 - 2.0 * e)))
            }
            LossType::ExoPair => {
                let (p, q) = (sigmoid(x), sigmoid(-x));
                let (of_p, of_q) = (-softplus(-x) - (-e).ln_1p(), -softplus(x) - e.ln());
                of_x((p * of_p + q * of_q, p * q * (of_p - of_q)))
            }
            LossType::Hinge => of_x(((1.0 - x).max(0.0), if x < 1.0 { -1.0 } else { 0.0 })),
            LossType::Ipo => {
                let miss = chosen / y - rejected / z - 0.5 / beta;
                (miss * miss, [2.0 * miss / y, -2.0 * miss / z])
            }
            LossType::SigmoidNorm => {
                let mean = beta * (chosen / y - rejected / z);
                let derivative = -beta * sigmoid(-mean);
                (softplus(-mean), [derivative / y, -derivative / z])
            }
            LossType::NcaPair => {
                let [c, r] = [beta * chosen, beta * rejected];
                let loss = softplus(-c) + 0.5 * softplus(c) + 0.5 * softplus(r);
                (loss, [beta * (0.5 * sigmoid(c) - sigmoid(-c)), 0.5 * beta * sigmoid(r)])
            }
            LossType::SppoHard => {
                let [won, lost] = [chosen - 0.5 / beta, rejected + 0.5 / beta];
                (won * won + lost * lost, [2.0 * won, 2.0 * lost])
            }
            LossType::ApoZero => {
                let [c, r] = [beta * chosen, beta * rejected];
                (sigmoid(-c) + sigmoid(r), [-beta * slope(c), beta * slope(r)])
            }
            LossType::ApoDown => {
                let c = beta * chosen;
                (sigmoid(c) + sigmoid(-x), [beta * (slope(c) - slope(x)), beta * slope(x)])
            }
            LossType::Sft => (0.0, [0.0; 2]),
        }
    }

    /// The implicit reward of a log-ratio.
    pub fn reward(&self, logratio: f64) -> f64 {
        self.beta * logratio
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The derivative of the logistic function.
fn slope(x: f64) -> f64 {
    sigmoid(x) * sigmoid(-x)
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
        let loss_type = loss_type.into();
        PairLoss::new(&TrainConfig { loss_type, beta, label_smoothing, ..Default::default() }).unwrap()
    }

    #[test]
    fn derivatives_are_those_of_the_losses() {
        use LossType::*;
        let several = TrainConfig {
            loss_type: [Sigmoid, Sft, ApoZero].into_iter().collect(),
            loss_weights: vec![0.5, 1.0, 2.0],
            ..Default::default()
        };
        let losses = [
            loss(Sigmoid, 0.1, 0.0),
            loss(Sigmoid, 2.0, 0.2),
            loss(Robust, 0.7, 0.1),
            loss(ExoPair, 0.7, 0.1),
            loss(Hinge, 0.5, 0.0),
            loss(Ipo, 0.3, 0.0),
            loss(SigmoidNorm, 0.8, 0.0),
            loss(NcaPair, 0.8, 0.0),
            loss(SppoHard, 0.3, 0.0),
            loss(ApoZero, 0.8, 0.0),
            loss(ApoDown, 0.8, 0.0),
            PairLoss::new(&several).unwrap(),
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
        assert_eq!(l.of([1e4, -1e4], [1, 1]), (0.0, [0.0, 0.0]));
        assert_eq!(l.of([-1e4, 1e4], [1, 1]), (2e4, [-1.0, 1.0]));
        assert_eq!(l.of([0.0, 0.0], [1, 1]).0, std::f64::consts::LN_2);
        for kind in [LossType::ExoPair, LossType::Robust, LossType::NcaPair, LossType::ApoZero, LossType::ApoDown] {
            for ratios in [[1e4, -1e4], [-1e4, 1e4]] {
                let (loss, d) =
                    self::loss(kind, 1.0, if kind == LossType::ExoPair { 0.1 } else { 0.0 }).of(ratios, [1, 1]);
                assert!(loss.is_finite() && d.iter().all(|d| d.is_finite()), "{kind:?}: {loss} {d:?}");
            }
        }
    }

    #[test]
    fn numbers_that_make_no_loss_are_refused() {
        let error = PairLoss::new(&TrainConfig { beta: 0.0, ..Default::default() }).err().unwrap();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::ConfigTrain, "beta is 0; expected a number above 0")
        );
    }
}
