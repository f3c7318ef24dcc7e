//! Which losses a training's pairs have, as the keys of `train` say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A loss of preference pairs, under TRL's name: formulas with their sources are in `train/loss.rs`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// -log sigmoid (DPO, SPIN).
    Sigmoid,
    /// max(0, 1 - x) (SLiC, SPIN's other loss).
    Hinge,
    /// Squared distance to 1/(2 beta) of length-averaged log-ratios, as TRL.
    Ipo,
    /// Unbiased under labels of which `label_smoothing` are wrong (robust DPO).
    Robust,
    /// KL divergence from labels of which `label_smoothing` are wrong (EXO).
    ExoPair,
    /// Noise-contrastive: holds the chosen likelihood up (NCA).
    NcaPair,
    /// Chosen and rejected towards 1/(2 beta) and -1/(2 beta) apart (SPPO).
    SppoHard,
    /// Raises the chosen, lowers the rejected: for chosen responses better than the model (APO).
    ApoZero,
    /// Lowers both, the rejected more: for chosen responses worse than the model (APO).
    ApoDown,
    /// Sigmoid of length-averaged log-ratios.
    SigmoidNorm,
    /// None of pairs: the SFT term on the chosen responses. With a rule of [`crate::pairs`] that chooses among the
    /// model's own samples it is SFT on the nearest of them.
    Sft,
}

/// What `train` says of losses: each but `sft` with its weight, and the weight of the SFT term.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Losses of pairs.
    pub of_pairs: Vec<(LossType, f64)>,
    /// Weight of the mean negative log-likelihood of the chosen tokens; 0 for none.
    pub sft: f64,
}

/// A key of `train` and what is wrong with it.
pub type LossFault = (&'static str, String);

impl Losses {
    /// Those of these keys of `train`.
    ///
    /// # Errors
    /// The first key whose value makes no loss.
    pub fn of(
        types: &[LossType],
        weights: &[f64],
        [beta, label_smoothing, sft_weight]: [f64; 3],
    ) -> Result<Self, LossFault> {
        use LossType::{ExoPair, Robust, Sft, Sigmoid};
        let number = |value: f64| value.is_finite() && value >= 0.0;
        if !(beta > 0.0 && beta.is_finite()) {
            return Err(("beta", format!("is {beta}; expected a number above 0")));
        }
        if !(0.0..0.5).contains(&label_smoothing) {
            return Err(("label_smoothing", format!("is {label_smoothing}; expected 0 up to, not including, 0.5")));
        }
        if label_smoothing > 0.0 && !types.iter().any(|loss| [Sigmoid, Robust, ExoPair].contains(loss)) {
            return Err((
                "label_smoothing",
                "applies to the losses sigmoid, robust and exo_pair alone; remove it".into(),
            ));
        }
        if label_smoothing == 0.0 && types.contains(&ExoPair) {
            return Err(("label_smoothing", "is 0, and exo_pair needs some; set it to 0.001".into()));
        }
        if !number(sft_weight) {
            return Err(("sft_weight", format!("is {sft_weight}; expected 0 or more")));
        }
        if let Some(twice) = types.iter().enumerate().find(|(i, loss)| types[..*i].contains(loss)) {
            return Err(("loss_type", format!("has {:?} twice; give it once, with a weight", twice.1)));
        }
        if !weights.is_empty() && weights.len() != types.len() {
            return Err(("loss_weights", format!("has {} numbers for {} losses", weights.len(), types.len())));
        }
        if !weights.iter().all(|weight| number(*weight)) || (!weights.is_empty() && weights.iter().all(|w| *w == 0.0)) {
            return Err(("loss_weights", "expected numbers of 0 or more, one of them above 0".into()));
        }
        if sft_weight > 0.0 && types.contains(&Sft) && !weights.is_empty() {
            return Err(("sft_weight", "is given, and a weight of sft in loss_weights; remove one".into()));
        }
        let mut losses = Losses { of_pairs: vec![], sft: sft_weight };
        for (i, loss) in types.iter().enumerate() {
            let weight = weights.get(i).copied().unwrap_or(1.0);
            match loss {
                Sft if sft_weight == 0.0 => losses.sft = weight,
                Sft => {}
                _ => losses.of_pairs.push((*loss, weight)),
            }
        }
        Ok(losses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_make_no_loss_are_named() {
        use LossType::*;
        for (types, weights, numbers, key) in [
            (&[Sigmoid][..], &[][..], [0.0, 0.0, 0.0], "beta"),
            (&[Sigmoid], &[], [0.1, 0.5, 0.0], "label_smoothing"),
            (&[Ipo], &[], [0.1, 0.1, 0.0], "label_smoothing"),
            (&[ExoPair], &[], [0.1, 0.0, 0.0], "label_smoothing"),
            (&[Sigmoid], &[], [0.1, 0.0, f64::NAN], "sft_weight"),
            (&[Ipo, Ipo], &[], [0.1, 0.0, 0.0], "loss_type"),
            (&[Sigmoid], &[1.0, 1.0], [0.1, 0.0, 0.0], "loss_weights"),
            (&[Sigmoid], &[0.0], [0.1, 0.0, 0.0], "loss_weights"),
            (&[Sft], &[1.0], [0.1, 0.0, 1.0], "sft_weight"),
        ] {
            assert_eq!(Losses::of(types, weights, numbers).map_err(|(key, _)| key), Err(key), "{types:?}");
        }
    }

    #[test]
    fn the_sft_term_has_one_weight_however_it_is_asked_for() {
        use LossType::*;
        let of = |types: &[LossType], weights: &[f64], sft_weight| {
            Losses::of(types, weights, [0.1, 0.0, sft_weight]).map(|losses| (losses.of_pairs, losses.sft))
        };
        assert_eq!(of(&[Sigmoid], &[], 0.7), Ok((vec![(Sigmoid, 1.0)], 0.7)));
        assert_eq!(of(&[Sigmoid, Sft], &[1.0, 0.7], 0.0), Ok((vec![(Sigmoid, 1.0)], 0.7)));
        assert_eq!(of(&[Sigmoid, Sft], &[], 0.7), Ok((vec![(Sigmoid, 1.0)], 0.7)));
        assert_eq!(of(&[Sft], &[], 0.0), Ok((vec![], 1.0)));
        assert_eq!(of(&[Sft], &[], 0.5), Ok((vec![], 0.5)));
    }
}
