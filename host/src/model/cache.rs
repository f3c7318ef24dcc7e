//! Keys and values of sequences being generated, and the passes that fill them.

use super::{
    pack::{PASS_TOKENS, cut},
    policy::Policy,
};
use crate::{
    Code, Error, Result,
    ops::{Compute, Span},
};
use candle_core::Tensor;

/// Keys and values of sequences being generated, preallocated, one slot a sequence.
pub struct KvCache {
    /// Of each layer, keys and values: [slots * capacity, kv_heads * dim].
    layers: Vec<[Tensor; 2]>,
    lens: Vec<usize>,
    capacity: usize,
    compute: Compute,
}

impl KvCache {
    /// Forgets all but the first `tokens` of a slot's sequence, so that another that begins with them can take it.
    pub fn keep(&mut self, slot: usize, tokens: usize) {
        self.lens[slot] = self.lens[slot].min(tokens);
    }
    /// Tokens held in a slot.
    pub fn len(&self, slot: usize) -> usize {
        self.lens[slot]
    }
    /// Whether a slot holds nothing.
    pub fn is_empty(&self, slot: usize) -> bool {
        self.len(slot) == 0
    }
    /// Tokens that a slot has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Gives every slot room for `capacity` tokens, if it has less.
    pub fn grow(&mut self, capacity: usize) -> Result<()> {
        if capacity <= self.capacity {
            return Ok(());
        }
        for part in self.layers.iter_mut().flatten() {
            let grown = Tensor::zeros((self.lens.len() * capacity, part.dim(1)?), part.dtype(), part.device())?;
            for (slot, &len) in self.lens.iter().enumerate().filter(|(_, len)| **len > 0) {
                let rows: Vec<usize> = (slot * capacity..slot * capacity + len).collect();
                self.compute.set_rows(&grown, &part.narrow(0, slot * self.capacity, len)?, &rows)?;
            }
            *part = grown;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Fills an empty slot with the first `n` tokens of another.
    pub fn share(&mut self, from: usize, to: usize, n: usize) -> Result<()> {
        if from == to || self.lens.get(from).is_none_or(|len| n > *len) || self.lens.get(to) != Some(&0) {
            return Err(Error::new(Code::ModelCache, format!("{n} tokens of slot {from} cannot go to slot {to}")));
        }
        let rows: Vec<usize> = (to * self.capacity..to * self.capacity + n).collect();
        for part in self.layers.iter().flatten() {
            // `copy` would copy what lies behind the view, all slots.
            self.compute.set_rows(part, &part.narrow(0, from * self.capacity, n)?.force_contiguous()?, &rows)?;
        }
        self.lens[to] = n;
        Ok(())
    }

    /// Fails unless the slots are different, exist, and have room for their tokens.
    fn check(&self, pieces: &[(usize, &[u32])]) -> Result<()> {
        for (i, (slot, ids)) in pieces.iter().enumerate() {
            let Some(len) = self.lens.get(*slot) else {
                return Err(Error::new(
                    Code::ModelCache,
                    format!("slot {slot} of a cache with {} slots", self.lens.len()),
                ));
            };
            if ids.is_empty() || len + ids.len() > self.capacity {
                let n = ids.len();
                let what = format!("{n} tokens more than the {len} of a slot with room for {}", self.capacity);
                return Err(Error::new(Code::ModelCache, what));
            }
            if pieces[..i].iter().any(|(other, _)| other == slot) {
                return Err(Error::new(Code::ModelCache, format!("slot {slot} is given tokens twice at once")));
            }
        }
        Ok(())
    }
}

impl Policy {
    /// A cache for `slots` sequences of up to `capacity` tokens.
    pub fn cache(&self, slots: usize, capacity: usize) -> Result<KvCache> {
        let c = &self.model().config;
        let shape = (slots * capacity, c.num_kv_heads * c.head_dim);
        let zeros = || Tensor::zeros(shape, self.compute().activations(), self.device());
        let layers = (0..c.num_layers).map(|_| Ok([zeros()?, zeros()?])).collect::<Result<_>>()?;
        Ok(KvCache { layers, lens: vec![0; slots], capacity, compute: self.compute().clone() })
    }

    /// Runs tokens at the end of their slots' sequences, packed, for what comes after them: no logits are computed.
    ///
    /// What a slot holds then does not depend, to the bit, on the other slots.
    pub fn prefill(&self, cache: &mut KvCache, pieces: &[(usize, &[u32])]) -> Result<()> {
        cache.check(pieces)?;
        for pieces in cut(pieces, PASS_TOKENS, |(_, ids)| ids.len()) {
            self.extend(cache, pieces)?;
        }
        Ok(())
    }

    /// Feeds one token to each given slot and calls `f` with their next logits, `vocab` numbers each in the same order:
    /// a large vocabulary's are not worth a copy. A slot's logits do not depend, to the bit, on the other slots.
    pub fn decode<R>(&self, cache: &mut KvCache, tokens: &[(usize, u32)], f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        let pieces: Vec<_> = tokens.iter().map(|(slot, id)| (*slot, std::slice::from_ref(id))).collect();
        cache.check(&pieces)?;
        let x = self.extend(cache, &pieces)?;
        let (model, compute) = (self.model(), self.compute());
        let rows = compute.rows(&model.norm.forward(&x)?)?;
        Ok(compute.read(&model.head.weight.forward(&rows, None)?, f)?)
    }

    /// Runs tokens at the end of their slots' sequences: [tokens, hidden] before the last norm.
    fn extend(&self, cache: &mut KvCache, pieces: &[(usize, &[u32])]) -> Result<Tensor> {
        let (model, compute) = (self.model(), self.compute());
        let (mut ids, mut positions, mut rows, mut spans) = (vec![], vec![], vec![], vec![]);
        for &(slot, piece) in pieces {
            let (start, len) = (slot * cache.capacity, cache.lens[slot]);
            let queries = ids.len()..ids.len() + piece.len();
            // Spans are of different slots, so none shares keys with another.
            spans.push(Span { queries, keys: [0..0, start..start + len + piece.len()] });
            positions.extend((len..len + piece.len()).map(|p| p as u32));
            rows.extend(start + len..start + len + piece.len());
            ids.extend_from_slice(piece);
        }
        let attention = model.config.attention(spans)?;
        let angles = model.angles(&positions)?;
        let mut x = model.embed(&ids)?;
        for ((layer, of), [keys, values]) in model.layers.iter().zip(&model.config.layers).zip(&cache.layers) {
            let attend = &mut |q: &Tensor, k: &Tensor, v: &Tensor| {
                compute.set_rows(keys, k, &rows)?;
                compute.set_rows(values, v, &rows)?;
                compute.attention(&attention, [q, keys, values], of.window)
            };
            x = layer.forward(x, &angles, attend)?.0;
        }
        for (slot, piece) in pieces {
            cache.lens[*slot] += piece.len();
        }
        Ok(x)
    }
}
