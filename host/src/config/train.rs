//! How a run trains.

use super::{
    OneOrMore,
    losses::{LossFault, LossType, Losses},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most of what is multiplied: a larger number is a slip, and products of them are numbers still.
pub(super) const MOST: u64 = 1 << 20;

/// Weighted DPO (and, for `sft`, the part that applies there). Names are TRL's where TRL has one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The loss of the pairs, or a list of losses whose sum is trained, each times its weight in `loss_weights`. A
    /// pair's own weight is on each of them; `sft` in the list has the pairs' chosen responses, whatever their weight.
    pub loss_type: OneOrMore<LossType>,
    /// One for each loss of `loss_type`; all 1 where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loss_weights: Vec<f64>,
    /// Strength of the pull to the reference.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
    /// Probability that a label is wrong, in 0..0.5: of the losses sigmoid (cDPO; TRL's sigmoid leaves it out), robust
    /// and exo_pair.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 0.5))]
    pub label_smoothing: f64,
    /// Weight of the SFT loss on chosen responses (RPO's alpha); 0 for none. It is that of `sft` in `loss_type`.
    #[schemars(range(min = 0))]
    pub sft_weight: f64,
    /// Peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// constant, linear, cosine or cosine_with_min_lr, after warm-up.
    pub lr_scheduler_type: LrSchedulerType,
    /// Of cosine_with_min_lr: where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_scheduler_kwargs: Option<SchedulerKwargs>,
    /// Share of the steps that warm up.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_ratio: f64,
    /// Steps that warm up; overrides the share where above 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Adam's betas.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta1: f64,
    /// See `adam_beta1`.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta2: f64,
    /// Adam's epsilon.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub adam_epsilon: f64,
    /// Gradients are scaled to this norm at most; 0 for never.
    #[schemars(range(min = 0))]
    pub max_grad_norm: f64,
    /// Passes over the pairs.
    #[schemars(range(min = 1, max = MOST))]
    pub num_train_epochs: u64,
    /// Optimizer steps; overrides epochs where above 0.
    pub max_steps: u64,
    /// Rows of an optimizer step, times `gradient_accumulation_steps`: only the product counts. Passes are cut by
    /// memory, whatever the two say; they are two so that configs written for TRL keep their meaning.
    #[schemars(range(min = 1, max = MOST))]
    pub per_device_train_batch_size: usize,
    /// See `per_device_train_batch_size`.
    #[schemars(range(min = 1, max = MOST))]
    pub gradient_accumulation_steps: usize,
    /// Steps between checkpoints; 0 for only at the end of an epoch.
    pub save_steps: u64,
    /// Checkpoints kept.
    #[schemars(range(min = 1))]
    pub save_total_limit: usize,
    /// Steps between metric lines.
    #[schemars(range(min = 1))]
    pub logging_steps: u64,
    /// Low-rank adapters instead of full fine-tuning.
    pub lora: Option<LoraConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            loss_type: LossType::Sigmoid.into(),
            loss_weights: vec![],
            beta: 0.1,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            learning_rate: 1e-6,
            lr_scheduler_type: LrSchedulerType::Linear,
            lr_scheduler_kwargs: None,
            warmup_ratio: 0.1,
            warmup_steps: 0,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            num_train_epochs: 1,
            max_steps: 0,
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 4,
            save_steps: 50,
            save_total_limit: 2,
            logging_steps: 1,
            lora: None,
        }
    }
}

/// Shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// Stays at the peak.
    Constant,
    /// Falls to 0 in a line.
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
    /// Falls along half a cosine to what `lr_scheduler_kwargs` says.
    CosineWithMinLr,
}

/// Where `cosine_with_min_lr` ends: one of the two.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SchedulerKwargs {
    /// A learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_lr: Option<f64>,
    /// A share of `learning_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub min_lr_rate: Option<f64>,
}

impl TrainConfig {
    /// Whether the pairs themselves train nothing: only what is chosen.
    pub fn is_sft(&self) -> bool {
        self.loss_type.iter().all(|loss| *loss == LossType::Sft)
    }

    /// Its losses.
    ///
    /// # Errors
    /// The first key whose value makes no loss.
    pub fn losses(&self) -> Result<Losses, LossFault> {
        let Self { beta, label_smoothing, sft_weight, .. } = *self;
        Losses::of(&self.loss_type, &self.loss_weights, [beta, label_smoothing, sft_weight])
    }

    /// The lowest learning rate as a share of the highest, where the schedule has one.
    ///
    /// # Errors
    /// Where `lr_scheduler_kwargs` does not say it once for a schedule that needs it, or says it for another.
    pub fn min_lr_rate(&self) -> Result<Option<f64>, &'static str> {
        let ends = self.lr_scheduler_type == LrSchedulerType::CosineWithMinLr;
        match (ends, self.lr_scheduler_kwargs) {
            (false, None) => Ok(None),
            (false, Some(_)) => Err("is of lr_scheduler_type: cosine_with_min_lr alone"),
            (true, Some(SchedulerKwargs { min_lr: Some(rate), min_lr_rate: None })) if rate <= self.learning_rate => {
                Ok(Some(rate / self.learning_rate))
            }
            (true, Some(SchedulerKwargs { min_lr: None, min_lr_rate: Some(share) })) => Ok(Some(share)),
            (true, _) => Err("cosine_with_min_lr needs one of min_lr, at most learning_rate, and min_lr_rate"),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Low-rank adapters, PEFT's names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank.
    #[schemars(range(min = 1, max = 65536))]
    pub r: usize,
    /// Scale is lora_alpha / r.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lora_alpha: f64,
    /// Module names such as q_proj; `all-linear` for every linear layer but the head, in a model with
    /// experts for attention.
    #[schemars(length(min = 1))]
    pub target_modules: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { r: 16, lora_alpha: 32.0, target_modules: vec!["all-linear".into()] }
    }
}
