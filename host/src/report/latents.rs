//! The map of a round's latents in the plane in which they spread most: the two responses of each pair joined, or,
//! where prompts have several samples, each golden response and the first of its prompt's samples.

use crate::{
    Code, Error, Result,
    latents::{Latents, OF_ROUND, Prompts},
    page::Plot,
    stats::{Plane, principal_plane},
};
use std::path::Path;

/// Pairs in a map: more would hide each other, and cost memory.
const SHOWN: usize = 250;

/// Latents of some pairs in their common plane.
pub struct LatentMap {
    /// Prompts of the round.
    pub prompts: usize,
    /// Whether a prompt has several responses of which one is shown.
    several: bool,
    /// Latents of the prompts' golden responses, then those of the responses beside them in the same order.
    plane: Plane,
}

impl LatentMap {
    /// Reads latents.safetensors, of which evenly spaced prompts where there are many. `prompts` says which candidates
    /// are whose: each prompt's first is shown. What the file holds is said where it is not that.
    pub fn read(path: &Path, prompts: &Prompts) -> Result<Self> {
        let unknown = |_: &Path, what| Error::new(Code::ReportLatents, what);
        let [chosen, rejected] = Latents::open(path, OF_ROUND, unknown)?;
        let (pairs, len) = (chosen.len(), chosen.shape().len());
        if (pairs, rejected.len()) != (prompts.len(), prompts.all()) {
            return Err(unknown(path, format!("latents of {pairs} chosen and {} other responses", rejected.len())));
        }
        let shown: Vec<usize> = (0..pairs.min(SHOWN)).map(|i| i * pairs / pairs.min(SHOWN)).collect();
        let first: Vec<usize> = shown.iter().map(|prompt| prompts.first(*prompt)).collect();
        let (chosen, rejected) = (chosen.read(&shown)?, rejected.read(&first)?);
        let both =
            chosen.chunks_exact(len).zip(rejected.chunks_exact(len)).map(|(chosen, rejected)| [chosen, rejected]);
        // One number that is none would take the plane from all.
        let finite: Vec<_> = both.filter(|pair| pair.iter().copied().flatten().all(|v| v.is_finite())).collect();
        let side = |side: usize| finite.iter().flat_map(move |pair| pair[side]).copied();
        let points: Vec<f32> = side(0).chain(side(1)).collect();
        Ok(Self { prompts: pairs, several: prompts.all() > prompts.len(), plane: principal_plane(&points, len) })
    }

    /// Prompts in the map.
    fn shown(&self) -> usize {
        self.plane.points.len() / 2
    }
}

/// The map and how to read it.
pub fn figure(map: &LatentMap) -> (Plot, String) {
    let (chosen, rejected) = map.plane.points.split_at(map.shown());
    let points = |side: &[[f64; 2]]| side.iter().map(|[x, y]| (*x, *y)).collect::<Vec<_>>();
    let [x, y] = map.plane.shares.map(|share| format!("{:.0} % of the variance", 100.0 * share));
    let (one, other, joined) = match map.several {
        true => ("golden", "first sample", "golden response with the first sample of the model"),
        false => ("chosen", "rejected", "chosen response with the rejected one"),
    };
    let description = format!("Latents of {one} and {other} of {} prompts in their principal plane", map.shown());
    let plot = Plot::new("Latent map", &description, &format!("component 1, {x}"), &format!("component 2, {y}"))
        .equal_scales()
        .cloud(one, points(chosen))
        .cloud(other, points(rejected))
        .links("pair", chosen.iter().zip(rejected).map(|(a, b)| [(a[0], a[1]), (b[0], b[1])]).collect());
    let which = match map.shown() < map.prompts {
        true => format!("{} of {} prompts, evenly spaced.", map.shown(), map.prompts),
        false => format!("All {} prompts.", map.prompts),
    };
    let caption = format!(
        "{which} A line joins the {joined} to the same prompt, in the plane in which \
         latents spread most. Lines that point one way are a habit; what the plane leaves out of the variance is not seen.",
    );
    (plot, caption)
}
