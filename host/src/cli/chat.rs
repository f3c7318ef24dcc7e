//! `chat`: a conversation with a model, line by line; a line from a pipe is answered as one from a terminal.

use super::{
    on_pool,
    paint::{Paint, Style},
    print, write,
};
use ldalign::{
    Code, Error, Result,
    config::{GenerateConfig, Quantize},
    generate::{Request, StopReason, generate_one},
    interrupt,
    model::{self, Kept, Policy},
    ops::{Compute, Precision},
    pipeline,
    text::{Message, TextCodec},
};
use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

/// Arguments of `chat`.
#[derive(clap::Args)]
pub struct Chat {
    /// Model or adapter directory, or GGUF file
    model: PathBuf,
    /// System message
    #[arg(long)]
    system: Option<String>,
    /// Tokens of an answer at most
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.7)]
    temperature: f32,
    /// Keep the smallest set of tokens with at least this probability
    #[arg(long, default_value_t = 0.9)]
    top_p: f32,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Rounds the operands of matrix products to bfloat16
    #[arg(long)]
    bf16: bool,
    /// Makes the matrices of the model's linear modules into 4 bits; an adapter that was trained so needs no flag
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
}

impl Chat {
    /// Answers lines of stdin until its end.
    pub fn run(&self) -> Result<()> {
        let config = self.sampling()?;
        let codec = model::codec(&self.model)?;
        let precision = if self.bf16 { Precision::Bf16 } else { Precision::F32 };
        let kept = self.quantize.map_or(Kept::Frozen, |Quantize::Nf4| Kept::Nf4);
        let policy = Policy::load_kept(&self.model, &Compute::new(&pipeline::device(&self.device)?, precision), kept)?;
        let opening = self.system.iter().map(|s| Message::new("system", s)).collect::<Vec<_>>();
        let mut history = opening.clone();
        let (terminal, paint) = (io::stdin().is_terminal(), Paint::stderr());
        if terminal {
            ldalign::progress::say(format_args!(
                "{}",
                paint.style(Style::Note, "an empty line starts a new conversation; Ctrl-D ends")
            ));
        }
        let mut turn = 0;
        loop {
            if terminal {
                eprint!("{} ", paint.style(Style::Strong, ">"));
                // A prompt that does not show is no reason to stop.
                let _ = io::stderr().flush();
            }
            let mut line = String::new();
            let n = io::stdin().lock().read_line(&mut line);
            if n.map_err(|e| Error::new(Code::CliInput, "cannot read stdin").caused_by(e))? == 0 {
                return Ok(());
            }
            interrupt::check()?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                history.clone_from(&opening);
                continue;
            }
            history.push(Message::new("user", line));
            let (prompt, forgotten) = self.fit(&mut history, opening.len(), &codec, policy.max_positions())?;
            if forgotten > 0 {
                let what = format!("(the model's context is full: the oldest {forgotten} turns are forgotten)");
                ldalign::progress::say(format_args!("{}", paint.style(Style::Note, &what)));
            }
            let request = Request { prompt, key: turn, sample: 0 };
            turn += 1;
            let mut text = codec.stream();
            let show = |token| write(&text.push(token)?);
            let answer = on_pool(|| generate_one(&policy, &request, &config, codec.end_ids(), self.seed, show))?;
            let text = codec.decode(&answer.ids)?;
            print("")?;
            if answer.stop == StopReason::Length {
                ldalign::progress::say(format_args!(
                    "{}",
                    paint.style(Style::Note, "(cut: --max-new-tokens raises the limit)")
                ));
            }
            history.push(Message::assistant(text));
        }
    }

    /// The ids of a conversation, whose oldest turns after its opening are taken away as long as it leaves no room for
    /// an answer; how many were. A last message that leaves none by itself is left to be refused.
    fn fit(
        &self,
        history: &mut Vec<Message>,
        opening: usize,
        codec: &TextCodec,
        positions: usize,
    ) -> Result<(Vec<u32>, usize)> {
        let mut forgotten = 0;
        loop {
            let prompt = codec.encode_prompt(&history.clone().into())?;
            if prompt.len() + self.max_new_tokens <= positions || history.len() <= opening + 1 {
                return Ok((prompt, forgotten));
            }
            // A question and its answer.
            history.drain(opening..opening + 2);
            forgotten += 1;
        }
    }

    fn sampling(&self) -> Result<GenerateConfig> {
        let Self { max_new_tokens, temperature, top_p, .. } = *self;
        let asked = [
            ("--temperature", f64::from(temperature), GenerateConfig::TEMPERATURES),
            ("--top-p", f64::from(top_p), GenerateConfig::TOP_PS),
            ("--max-new-tokens", max_new_tokens as f64, GenerateConfig::COUNTS),
        ];
        if let Some((flag, _, bounds)) = asked.iter().find(|(_, value, bounds)| !bounds.take(*value)) {
            let what = format!("{flag} must be {bounds}");
            return Err(Error::new(Code::CliSampling, what).hint("see ldalign chat --help"));
        }
        Ok(GenerateConfig { max_new_tokens, temperature, top_p, top_k: 0, batch_size: 1, samples: None })
    }
}
