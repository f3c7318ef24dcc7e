//! The map of a round's latents: golden and own responses in the plane in which they spread most, pairs joined.

use crate::{
    Code, Error, Result, files,
    page::Plot,
    stats::{Plane, principal_plane},
};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Pairs in a map: more would hide each other, and cost memory.
const SHOWN: usize = 250;

/// Latents of some pairs in their common plane.
pub struct LatentMap {
    /// Pairs of the round.
    pub pairs: usize,
    /// Golden latents of the pairs shown, then the own responses' in the same order.
    plane: Plane,
}

impl LatentMap {
    /// Reads latents.safetensors, of which evenly spaced pairs where there are many. What it holds is said where it is not that.
    pub fn read(path: &Path) -> Result<Self> {
        let unknown = |what: String| Error::new(Code::ReportLatents, what);
        let bytes = files::map(path)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| unknown(e.to_string()))?;
        let [golden, losing] = ["golden", "losing"].map(|name| tensors.tensor(name));
        let (golden, losing) =
            (golden.map_err(|e| unknown(e.to_string()))?, losing.map_err(|e| unknown(e.to_string()))?);
        let (&[pairs, slots, dim], Dtype::F32) = (golden.shape(), golden.dtype()) else {
            return Err(unknown(format!("latents of shape {:?}, expected [pairs, slots, dim] of f32", golden.shape())));
        };
        if (losing.shape(), losing.dtype()) != (golden.shape(), golden.dtype()) {
            return Err(unknown("golden and losing latents differ in shape".into()));
        }
        let (len, shown) = (slots * dim, pairs.min(SHOWN));
        let latent = |data: &[u8], pair: usize| -> Vec<f32> {
            data[4 * pair * len..][..4 * len].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let both = (0..shown).map(|i| i * pairs / shown).map(|i| [golden.data(), losing.data()].map(|d| latent(d, i)));
        // One number that is none would take the plane from all.
        let finite: Vec<_> = both.filter(|pair| pair.iter().flatten().all(|v| v.is_finite())).collect();
        let side = |side: usize| finite.iter().flat_map(move |pair| &pair[side]).copied();
        let points: Vec<f32> = side(0).chain(side(1)).collect();
        Ok(Self { pairs, plane: principal_plane(&points, len) })
    }

    /// Pairs in the map.
    fn shown(&self) -> usize {
        self.plane.points.len() / 2
    }
}

/// The map and how to read it.
pub fn figure(map: &LatentMap) -> (Plot, String) {
    let (golden, own) = map.plane.points.split_at(map.shown());
    let points = |side: &[[f64; 2]]| side.iter().map(|[x, y]| (*x, *y)).collect::<Vec<_>>();
    let [x, y] = map.plane.shares.map(|share| format!("{:.0} % of the variance", 100.0 * share));
    let description = format!("Latents of golden and own responses of {} pairs in their principal plane", map.shown());
    let plot = Plot::new("Latent map", &description, &format!("component 1, {x}"), &format!("component 2, {y}"))
        .equal_scales()
        .cloud("golden", points(golden))
        .cloud("own", points(own))
        .links("pair", golden.iter().zip(own).map(|(a, b)| [(a[0], a[1]), (b[0], b[1])]).collect());
    let which = match map.shown() < map.pairs {
        true => format!("{} of {} pairs, evenly spaced.", map.shown(), map.pairs),
        false => format!("All {} pairs.", map.pairs),
    };
    let caption = format!(
        "{which} A line joins a golden response with the model's own to the same prompt, in the plane in which latents spread most. Lines that          point one way are a habit; what the plane leaves out of the variance is not seen.",
    );
    (plot, caption)
}
