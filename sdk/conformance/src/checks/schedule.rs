//! What a schedule owes: finite weights of at least 0 at every step, as a pure function of the round's distances.

use super::fail;
use crate::{
    inputs::show,
    memory::At,
    subject::{Context, Refusal, Schedule, Stop},
    suite::{About, Check},
};
use ldalign_abi::StepView;
use ldalign_sdk::metadata::SCHEDULE;

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Kind(SCHEDULE), run }
}

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("schedule/finite", "Weights are finite and at least 0, whatever the distances of the round", |c| {
        rounds_of(c).into_iter().try_for_each(|(what, distances)| {
            let schedule = begun(c, &distances)?;
            for at in steps() {
                let weights = schedule.weigh(at, &distances, PLAIN)?.values;
                if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
                    let (w, d) = (weights[i], distances[i]);
                    return fail(format!(
                        "weight {w} for distance {d} at step {} of {what}: {}",
                        at.step,
                        show(&distances)
                    ));
                }
            }
            Ok(())
        })
    }),
    check("schedule/last-step", "The last step, steps beyond it and rounds without steps have weights", |c| {
        let distances = ordinary(c, 9);
        let schedule = begun(c, &distances)?;
        for (round, rounds, step, total_steps) in
            [(0, 1, 0, 1), (2, 3, 9, 10), (2, 3, 10, 10), (7, 3, u64::MAX, 10), (0, 0, 0, 0), (0, 1, 5, 0)]
        {
            let at = StepView { round, rounds, step, total_steps };
            let weights = schedule.weigh(at, &distances, PLAIN)?.values;
            if let Some(w) = weights.into_iter().find(|w| !w.is_finite() || *w < 0.0) {
                return fail(format!("weight {w} at step {step} of {total_steps}, round {round} of {rounds}"));
            }
        }
        Ok(())
    }),
    check("schedule/mean-one", "The weights of a round's pairs average 1", |c| {
        c.declares("mean_one")?;
        rounds_of(c).into_iter().try_for_each(|(what, distances)| {
            // Where no pair differs from its golden response, nothing is to be learned: weights of 0 are as good.
            if distances.iter().all(|d| *d == 0.0) {
                return Ok(());
            }
            let schedule = begun(c, &distances)?;
            for at in steps() {
                let weights = schedule.weigh(at, &distances, PLAIN)?.values;
                let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / weights.len() as f64;
                if (mean - 1.0).abs() > 1e-3 {
                    return fail(format!("the mean is {mean} at step {} of {what}: {}", at.step, show(&distances)));
                }
            }
            Ok(())
        })
    }),
    check("schedule/monotone", "A larger distance never gets a smaller weight", |c| {
        c.declares("monotone")?;
        rounds_of(c).into_iter().try_for_each(|(_, mut distances)| {
            let schedule = begun(c, &distances)?;
            distances.sort_by(f32::total_cmp);
            for at in steps() {
                let weights = schedule.weigh(at, &distances, PLAIN)?.values;
                for (d, w) in distances.windows(2).zip(weights.windows(2)) {
                    if w[1] < w[0] * (1.0 - 1e-5) - 1e-6 {
                        let [(d0, w0), (d1, w1)] = [(d[0], w[0]), (d[1], w[1])];
                        return fail(format!("weight {w0} for distance {d0}, but {w1} for {d1}, at step {}", at.step));
                    }
                }
            }
            Ok(())
        })
    }),
    check(
        "schedule/needs-no-distances",
        "A schedule that declares not to use distances gives the same weights for any",
        |c| {
            if c.case().properties.get("uses_distances") != Some(&false.into()) {
                return Err(Stop::Skip("it uses distances".into()));
            }
            let distances = ordinary(c, 9);
            let (schedule, blind) = (begun(c, &distances)?, begun(c, &[0.0; 9])?);
            for at in steps() {
                let (seen, unseen) =
                    (schedule.weigh(at, &distances, PLAIN)?.values, blind.weigh(at, &[0.0; 9], PLAIN)?.values);
                if seen != unseen {
                    return fail(format!(
                        "{} with distances, {} without, at step {}",
                        show(&seen),
                        show(&unseen),
                        at.step
                    ));
                }
            }
            Ok(())
        },
    ),
    check("schedule/pure", "A step's weights do not depend on which steps were asked for before", |c| {
        let distances = ordinary(c, 9);
        let schedule = begun(c, &distances)?;
        let forwards = steps().map(|at| Ok(schedule.weigh(at, &distances, PLAIN)?.bits()));
        let forwards: Vec<Vec<u32>> = forwards.collect::<Result<_, Stop>>()?;
        let all: Vec<(StepView, Vec<u32>)> = steps().zip(forwards).collect();
        for (at, before) in all.into_iter().rev() {
            if schedule.weigh(at, &distances, PLAIN)?.bits() != before {
                return fail(format!("step {} of round {} has other weights when asked for again", at.step, at.round));
            }
        }
        Ok(())
    }),
    check(
        "schedule/resumes",
        "An instance that begins with round 2 gives the weights of one that saw round 1 before",
        |c| {
            let (first, second) = (ordinary(c, 9), ordinary(c, 12)[3..].to_vec());
            let mut long = begun(c, &first)?;
            long.weigh(StepView { round: 0, rounds: 2, step: 9, total_steps: 10 }, &first, PLAIN)?;
            long.begin_round(&second)?;
            let at = StepView { round: 1, rounds: 2, step: 4, total_steps: 10 };
            let (went_on, resumed) = (long.weigh(at, &second, PLAIN)?, begun(c, &second)?.weigh(at, &second, PLAIN)?);
            match went_on.bits() == resumed.bits() {
                true => Ok(()),
                false => {
                    fail(format!("{} when it went on, {} when resumed", show(&went_on.values), show(&resumed.values)))
                }
            }
        },
    ),
    check(
        "schedule/before-the-round",
        "Weights asked for before a round begins are given or refused, never a panic",
        |c| {
            Refusal::unless_panic(c.schedule()?.weigh(FIRST, &[1.0, 2.0], PLAIN))?;
            Ok(())
        },
    ),
    check("schedule/not-a-number", "A round whose distances hold a NaN or an infinity is never a panic", |c| {
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            let mut schedule = c.schedule()?;
            if Refusal::unless_panic(schedule.begin_round(&[1.0, bad, 2.0]))?.is_some() {
                Refusal::unless_panic(schedule.weigh(FIRST, &[1.0, bad, 2.0], PLAIN))?;
            }
        }
        Ok(())
    }),
];

const PLAIN: At = At::PLAIN;
const FIRST: StepView = StepView { round: 0, rounds: 3, step: 0, total_steps: 10 };

/// First, middle and last steps of three rounds.
fn steps() -> impl Iterator<Item = StepView> {
    (0..3).flat_map(|round| [0, 4, 9].map(|step| StepView { round, step, ..FIRST }))
}

fn begun<'a>(c: &Context<'a>, distances: &[f32]) -> Result<Schedule<'a>, Stop> {
    let mut schedule = c.schedule()?;
    schedule.begin_round(distances)?;
    Ok(schedule)
}

fn ordinary(c: &Context<'_>, n: usize) -> Vec<f32> {
    let mut rng = c.rng("round");
    (0..n).map(|_| rng.normal().exp()).collect()
}

/// Rounds as they come, the smallest first.
fn rounds_of(c: &Context<'_>) -> Vec<(&'static str, Vec<f32>)> {
    let mut tied = ordinary(c, 40);
    tied.iter_mut().for_each(|d| *d = (*d * 2.0).round());
    let outlier = [ordinary(c, 30), vec![1e6]].concat();
    vec![
        ("a round of one pair", vec![1.5]),
        ("a round of one pair at distance 0", vec![0.0]),
        ("a round whose distances are equal", vec![2.0; 5]),
        ("a round whose distances are 0", vec![0.0; 5]),
        ("a round with a distance of 0", vec![0.0, 1.0, 3.0]),
        ("a round of tiny distances", vec![1e-30, 2e-30, 5e-30]),
        ("a round of huge distances", vec![1e30, 2e30, 5e30]),
        ("an ordinary round", ordinary(c, 50)),
        ("a round with ties and zeros", tied),
        ("a round with an outlier", outlier),
        ("a long round", ordinary(c, 2000)),
    ]
}
