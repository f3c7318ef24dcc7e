//! What the working call of every kind owes (encode, distances, weights), and the state between calls.

use super::fail;
use crate::{
    memory::At,
    stand_in::StandIn,
    subject::{Context, Ran, Refusal, Stop, Subject},
    suite::{About, Check},
};

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Plugin, run }
}

const PLAIN: At = At::PLAIN;

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("calls/every-number", "Every number of the output is written, and finite", |c| {
        let subject = c.learned(c.host())?;
        let values = subject.run(&every(&*subject), PLAIN)?.values;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(i) => {
                fail(format!("number {i} of {} is {} (the host fills with NaN before)", values.len(), values[i]))
            }
        }
    }),
    check("calls/batch-equals-singles", "An input gives the same bits alone and in a batch", |c| {
        let subject = c.learned(c.host())?;
        let (all, width) = (every(&*subject), subject.width());
        let batch = subject.run(&all, PLAIN)?;
        // The smallest batch that differs: what follows the input is dropped, then what precedes it.
        for i in all {
            let alone = subject.run(&[i], PLAIN)?.values;
            if differs(&alone, &batch.values[i * width..][..width]).is_none() {
                continue;
            }
            for size in 2..=subject.items() {
                let from = (i + 1).saturating_sub(size);
                let picks: Vec<usize> = (from..from + size).collect();
                let several = subject.run(&picks, PLAIN)?.values;
                if let Some((x, y)) = differs(&alone, &several[(i - from) * width..][..width]) {
                    return fail(format!("input {} of a batch of {size} gives {y}, alone {x}", i - from));
                }
            }
            return fail(format!("input {i} differs alone and in a batch, but not each time"));
        }
        Ok(())
    }),
    check("calls/order", "In another order, inputs give the same bits in that order", |c| {
        let subject = c.learned(c.host())?;
        let (width, batch) = (subject.width(), subject.run(&every(&*subject), PLAIN)?);
        let mut backwards = every(&*subject);
        backwards.reverse();
        let turned = subject.run(&backwards, PLAIN)?;
        let rows = turned.values.chunks_exact(width).rev().zip(batch.values.chunks_exact(width));
        match rows.enumerate().find_map(|(i, (a, b))| Some((i, differs(a, b)?))) {
            None => Ok(()),
            Some((i, (x, y))) => fail(format!("input {i} gives {y} in order and {x} in reverse")),
        }
    }),
    check("calls/empty-batch", "An empty batch is not an error", |c| {
        let subject = c.learned(c.host())?;
        subject.run(&[], PLAIN)?;
        Ok(())
    }),
    check(
        "calls/repeatable",
        "The same call again gives the same bits, also of another instance and in another process",
        |c| {
            let subject = c.learned(c.host())?;
            let picks = every(&*subject);
            let first = subject.run(&picks, PLAIN)?;
            let again = subject.run(&picks, PLAIN)?;
            same(&first, &again, "the same call again")?;
            let other = c.learned(c.host())?;
            same(&first, &other.run(&picks, PLAIN)?, "another instance")?;
            c.fingerprint
                .set(Some(first.bits().iter().fold(0, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))));
            Ok(())
        },
    ),
    check("calls/threads-agree", "Calls from several threads at once give the bits of one call after the other", |c| {
        let subject = c.learned(c.host())?;
        let picks = every(&*subject);
        let first = subject.run(&picks, PLAIN)?;
        let results: Vec<Result<(), Stop>> = std::thread::scope(|scope| {
            let work = || (0..20).try_for_each(|_| same(&first, &subject.run(&picks, PLAIN)?, "a call beside others"));
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().expect("a guarded call does not panic")).collect()
        });
        results.into_iter().collect()
    }),
    check("calls/any-number-of-threads", "Results do not depend on how many threads the host allows", |c| {
        let with = |threads| {
            let subject = c.learned(StandIn { threads, ..c.host() })?;
            Ok::<_, Stop>(subject.run(&every(&*subject), PLAIN)?)
        };
        same(&with(1)?, &with(3)?, "a host with 3 threads")
    }),
    check("calls/alignment", "Results do not depend on where in memory inputs and outputs lie", |c| {
        let subject = c.learned(c.host())?;
        let picks = every(&*subject);
        let first = subject.run(&picks, PLAIN)?;
        (1..16).try_for_each(|lead| {
            same(&first, &subject.run(&picks, At::Start(32 + lead))?, &format!("{} bytes on", lead * 4))
        })
    }),
    check("calls/outputs-only", "Nothing is written beside the output", |c| {
        let subject = c.learned(c.host())?;
        for size in sizes(&*subject) {
            let changed = subject.run(&every(&*subject)[..size], PLAIN)?.changed_beside;
            if changed > 0 {
                return fail(format!("a batch of {size} changes {changed} numbers beside its output"));
            }
        }
        Ok(())
    }),
    check("calls/inside-the-slices", "Nothing is read or written beyond the ends of inputs and outputs", |c| {
        // Beyond the end lies memory that may not be touched: whoever does ends the process, which the parent reports.
        let subject = c.learned(c.host())?;
        let run = |size, at| subject.run(&every(&*subject)[..size], at).map(drop);
        sizes(&*subject).try_for_each(|size| run(size, At::End).and_then(|()| run(size, At::Start(0))))?;
        Ok(())
    }),
    check("calls/inputs-unchanged", "Inputs are left as they are", |c| {
        let subject = c.learned(c.host())?;
        match subject.run(&every(&*subject), PLAIN)?.changed_inputs {
            true => fail("an input was changed, which the host and the next plugin still need"),
            false => Ok(()),
        }
    }),
    check(
        "state/restores",
        "A fresh instance that loads a saved state gives the same bits and saves the same bytes",
        |c| {
            let subject = c.learned(c.host())?;
            let (picks, state) = (every(&*subject), saved(&*subject)?);
            let mut fresh = c.build(c.host())?;
            fresh.load(&state)?;
            same(&subject.run(&picks, PLAIN)?, &fresh.run(&picks, PLAIN)?, "the restored instance")?;
            let again = saved(&*fresh)?;
            match again == state {
                true => Ok(()),
                false => {
                    fail(format!("a state of {} bytes was loaded and saved as {} other ones", state.len(), again.len()))
                }
            }
        },
    ),
    check("state/unlearned", "The state of an instance that has learned nothing can be saved and loaded", |c| {
        let state = saved(&*c.build(c.host())?)?;
        Ok(c.build(c.host())?.load(&state)?)
    }),
    check("state/damaged", "A damaged state is refused or loaded, and what follows is never a panic", |c| {
        let state = saved(&*c.learned(c.host())?)?;
        let mut rng = c.rng("damage");
        let damaged = |i: usize, place: usize, bits: u8| {
            let mut bytes = state.clone();
            match i % 3 {
                0 => bytes.truncate(place % (bytes.len() + 1)),
                1 if !bytes.is_empty() => {
                    let at = place % bytes.len();
                    bytes[at] ^= bits.max(1);
                }
                _ => bytes.extend([bits; 3]),
            }
            bytes
        };
        let mut all: Vec<Vec<u8>> = (0..60).map(|i| damaged(i, rng.bits() as usize >> 1, rng.bits() as u8)).collect();
        all.extend([vec![0], vec![0xff; 64], b"not a state".to_vec()]);
        for bytes in all {
            let mut fresh = c.build(c.host())?;
            if Refusal::unless_panic(fresh.load(&bytes))?.is_some() {
                Refusal::unless_panic(fresh.run(&[0, 1], PLAIN))?;
            }
        }
        Ok(())
    }),
];

fn every(subject: &dyn Subject) -> Vec<usize> {
    (0..subject.items()).collect()
}

/// Batch sizes around the widths of vector registers.
fn sizes(subject: &dyn Subject) -> impl Iterator<Item = usize> {
    let items = subject.items();
    [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33].into_iter().filter(move |size| *size <= items)
}

fn saved(subject: &dyn Subject) -> Result<Vec<u8>, Stop> {
    let none = || Stop::Skip("plugins of this kind have no state".into());
    Ok(subject.save().ok_or_else(none)??)
}

/// The first numbers whose bits differ.
fn differs(a: &[f32], b: &[f32]) -> Option<(f32, f32)> {
    a.iter().zip(b).find(|(x, y)| x.to_bits() != y.to_bits()).map(|(x, y)| (*x, *y))
}

fn same(first: &Ran, other: &Ran, what: &str) -> Result<(), Stop> {
    let place = first.values.iter().zip(&other.values).position(|(x, y)| x.to_bits() != y.to_bits());
    match place {
        None => Ok(()),
        Some(i) => fail(format!("{what} gave {} in place of {} as number {i}", other.values[i], first.values[i])),
    }
}
