//! The report as people read it.

use super::{
    Memory, Rate, Report,
    generate::{Decode, Generating},
    lengths::{Cost, Lengths},
    limits::Limits,
    ops::{Bound, Operations},
    reference::Reference,
    train::{TrainedStep, Training, steady},
};
use crate::rundir::column;
use std::fmt::{Display, Formatter, Result};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { version, machine, threads, model, .. } = self;
        writeln!(f, "ldalign    {version} on {}, {threads} threads, {}", machine.cpu, machine.cpu_features.join(" "))?;
        let (path, millions) = (model.path.display(), model.parameters as f64 / 1e6);
        write!(f, "model      {path}, {millions:.1} M parameters, {} layers of {}", model.layers, model.hidden_size)?;
        let stages: [Option<&dyn Display>; 6] = [
            self.limits.as_ref().map(|s| s as _),
            self.ops.as_ref().map(|s| s as _),
            self.train.as_ref().map(|s| s as _),
            self.reference.as_ref().map(|s| s as _),
            self.generate.as_ref().map(|s| s as _),
            self.lengths.as_ref().map(|s| s as _),
        ];
        stages.into_iter().flatten().try_for_each(|stage| write!(f, "\n{stage}"))
    }
}

impl Display for Limits {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { f32, own_f32, own_bf16, bandwidth } = self;
        let [f32, own_f32, own_bf16] = [f32, own_f32, own_bf16].map(|p| p.gflops);
        let (read, triad) = (bandwidth.read_gb_per_s, bandwidth.triad_gb_per_s);
        writeln!(
            f,
            "limits     products: {f32:.0} GF/s f32 by gemm, {own_f32:.0} f32 and {own_bf16:.0} bf16 by our own"
        )?;
        write!(f, "           memory: {read:.1} GB/s read, {triad:.1} GB/s triad")
    }
}

impl Display for Operations {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ops        of one training pass      times        ms   of the limit")?;
        self.0.iter().try_for_each(|o| {
            let (name, times, ms) = (&o.name, o.times, 1e3 * o.seconds);
            let unit = if o.bound == Bound::Product { "GF/s" } else { "GB/s" };
            let share = o.of_limit.map_or(String::new(), |s| format!("{:.0} %", 100.0 * s));
            write!(f, "\n           {name:<28} {times:>4} {ms:>9.2} {:>8.1} {unit} {share:>6}", o.rate)
        })?;
        write!(f, "\n           {:<28}      {:>9.1}", "together", 1e3 * self.seconds())
    }
}

impl Display for Training {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let method = self.lora.map_or("full".into(), |r| format!("LoRA r={r}"));
        let Self { pairs_per_s, tokens_per_s, rate, memory, .. } = self;
        writeln!(
            f,
            "train      {method}: {pairs_per_s:.2} pairs/s, {tokens_per_s:.0} tokens/s, {rate}, peak {memory}"
        )?;
        let seconds = |s: &TrainedStep| format!("{:.2}", s.seconds);
        let counted: Vec<String> = steady(&self.steps).iter().map(seconds).collect();
        let first = self.steps.first().filter(|_| self.steps.len() > 1);
        let first = first.map_or(String::new(), |s| format!(" (the first, left out: {})", seconds(s)));
        write!(f, "           seconds a step: {}{first}", shortened(&counted))?;
        for (name, of) in [("loss", column::LOSS), ("logps", column::CHOSEN_LOGP)] {
            let number = |s: &TrainedStep| s.metrics.get(of);
            let all: Vec<String> = self.steps.iter().filter_map(number).map(|x| format!("{x:.4}")).collect();
            write!(f, "\n           {name}: {}", shortened(&all))?;
        }
        if let (Some(first), Some(last)) = (self.steps.first(), self.steps.last())
            && let (Some(first), Some(last)) = (first.resident_bytes, last.resident_bytes)
        {
            write!(f, "\n           held after the first step {}, after the last {}", gib(first), gib(last))?;
        }
        Ok(())
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { pairs, seconds, tokens_per_s, rate, memory, .. } = self;
        write!(f, "reference  {pairs} pairs in {seconds:.1} s: {tokens_per_s:.0} tokens/s, {rate}, peak {memory}")
    }
}

impl Display for Generating {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { prompts, new_tokens, batch, memory, .. } = self;
        let (batched, single) = (self.new_tokens_per_s, self.single_stream_tokens_per_s);
        writeln!(
            f,
            "generate   {prompts} prompts x {new_tokens} tokens, batch {batch}: {batched:.0} new tokens/s, single stream \
             {single:.0}, peak {memory}"
        )?;
        writeln!(f, "           prefill {:.0} tokens/s", self.prefill_tokens_per_s)?;
        writeln!(f, "           decode, batch {batch}: {}", self.decode)?;
        write!(f, "           decode, batch 1: {}", self.decode_single)
    }
}

impl Display for Decode {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (ms, tokens, rate) = (self.seconds * 1e3, self.tokens_per_s, self.weights_gb_per_s);
        let share = self.of_limit.map_or(String::new(), |s| format!(" ({:.0} % of reading)", 100.0 * s));
        write!(f, "{ms:.1} ms a step, {tokens:.0} tokens/s, weights at {rate:.1} GB/s{share}")
    }
}

impl Display for Lengths {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let table = |f: &mut Formatter<'_>, title: &str, costs: &[Cost]| -> Result {
            write!(f, "{title}\n           sequences x length   us/token    attention   rate, peak")?;
            costs.iter().try_for_each(|c| {
                let shape = format!("{} x {}", c.sequences, c.length);
                let (us, share) = (c.us_per_token, 100.0 * c.attention_share);
                write!(f, "\n           {shape:<18} {us:>10.0} {share:>10.1} %   {}, {}", c.rate, c.memory)
            })
        };
        table(f, "lengths    equal tokens a step", &self.by_length)?;
        table(f, "\nbatches    equal length", &self.by_batch)
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:.0} GF/s", self.gflops)?;
        self.of_limit.map_or(Ok(()), |share| write!(f, " ({:.0} % of the limit)", 100.0 * share))
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.peak_bytes {
            None => write!(f, "unknown")?,
            Some(peak) => write!(f, "{}{}", gib(peak), if self.own { "" } else { " (of the whole process)" })?,
        }
        self.estimate_bytes.map_or(Ok(()), |bytes| write!(f, ", estimated {}", gib(bytes)))
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

/// A list for one line.
fn shortened(all: &[String]) -> String {
    let shown = all.len().min(10);
    format!("{}{}", all[..shown].join(" "), if all.len() > shown { " ..." } else { "" })
}
