//! What an encoder owes: one finite latent of its shape for any sample, whatever the host can or cannot do.

use super::fail;
use crate::{
    memory::At,
    stand_in::{self, StandIn},
    subject::{Context, Refusal, Stop},
    suite::{About, Check},
};
use ldalign_abi::ErrorCode;
use ldalign_sdk::{CorpusSource, Error, OwnedSample, metadata::ENCODER};

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Kind(ENCODER), run }
}

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("encoder/shape", "The shape is usable, and the same before and after learning and in every instance", |c| {
        let mut encoder = c.encoder_on(c.host())?;
        let before = encoder.shape()?;
        encoder.fit(&stand_in::samples(12, c.seed))?;
        let (after, other) = (encoder.shape()?, c.encoder_on(c.host())?.shape()?);
        match before == after && before == other {
            true => Ok(()),
            false => fail(format!("{before:?} when built, {after:?} after learning, {other:?} in another instance")),
        }
    }),
    check("encoder/report", "What learning reports are finite numbers with names", |c| {
        let report = c.encoder_on(c.host())?.fit(&stand_in::samples(12, c.seed))?;
        match report.iter().find(|(name, value)| name.is_empty() || !value.is_finite()) {
            None => Ok(()),
            Some((name, value)) => fail(format!("it reports {name:?} = {value}")),
        }
    }),
    check("encoder/tells-apart", "Unlike samples do not all get the same latent", |c| {
        let subject = c.learned(c.host())?;
        let latents = subject.run(&(0..subject.items()).collect::<Vec<_>>(), At::PLAIN)?.values;
        let mut rows = latents.chunks_exact(subject.width());
        let first = rows.next().unwrap_or_default();
        match rows.all(|row| row == first) {
            true => fail("all samples have the same latent"),
            false => Ok(()),
        }
    }),
    check(
        "encoder/odd-samples",
        "Odd samples (no token, no text, any script, very long) are encoded or refused, never a panic",
        |c| {
            let mut encoder = c.encoder_on(c.host())?;
            let shape = encoder.shape()?;
            let width = (shape.slots * shape.dim) as usize;
            encoder.fit(&stand_in::samples(12, c.seed))?;
            for (what, sample) in stand_in::odd_samples() {
                let ran = Refusal::unless_panic(encoder.encode(&[sample], width, At::PLAIN))?;
                if let Some(value) = ran.and_then(|ran| ran.values.into_iter().find(|v| !v.is_finite())) {
                    return fail(format!("{what}: a number of the latent is {value}"));
                }
            }
            Ok(())
        },
    ),
    check(
        "encoder/few-to-learn-from",
        "Learning from one sample, from equal ones or from none works or is refused, never a panic",
        |c| {
            let one = stand_in::samples(1, c.seed).remove(0);
            for corpus in [vec![], vec![one.clone()], vec![one; 4], vec![OwnedSample::default(); 2]] {
                let report = Refusal::unless_panic(c.encoder_on(c.host())?.fit(&corpus))?;
                if let Some((name, value)) = report.into_iter().flatten().find(|(_, value)| !value.is_finite()) {
                    return fail(format!("from {} samples it reports {name} = {value}", corpus.len()));
                }
            }
            Ok(())
        },
    ),
    check("encoder/without-model", "On a host that has no model, it is built or refuses as unsupported", |c| {
        if !c.missing_options()?.is_empty() {
            return Err(Stop::Skip("its options must be given".into()));
        }
        match c.try_new(&c.case().id, StandIn { model: false, ..c.host() })? {
            Ok(()) => Ok(()),
            Err(e) if [ErrorCode::UNSUPPORTED, ErrorCode::OPTIONS].contains(&e.code) => Ok(()),
            Err(e) => fail(format!("{e}: hand on the error of `Host::model`")),
        }
    }),
    check("encoder/failing-host", "Where the host's services fail, calls are refused, never a panic", |c| {
        struct Broken;
        impl CorpusSource for Broken {
            fn len(&self) -> usize {
                12
            }
            fn read(&self, _: &[usize]) -> Result<Vec<OwnedSample>, Error> {
                Err(Error::failed("the corpus cannot be read"))
            }
        }
        let mut encoder = c.encoder_on(StandIn { fails: true, ..c.host() })?;
        let shape = encoder.shape()?;
        Refusal::unless_panic(encoder.fit(&Broken))?;
        let samples = stand_in::samples(3, c.seed);
        Refusal::unless_panic(encoder.encode(&samples, (shape.slots * shape.dim) as usize, At::PLAIN))?;
        Ok(())
    }),
];
