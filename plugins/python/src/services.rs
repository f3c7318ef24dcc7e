//! What a script asks of the host, answered in frames.

use crate::{
    frame::{Array, Frame, frame, samples_to},
    script::with_samples,
};
use ldalign_sdk::{Corpus, Error, Host, Layer, Level, Pooling, Sample, abi::ErrorCode};
use serde_json::{Value, json};

/// Kinds of errors by their names on the wire.
const CODES: [(&str, ErrorCode); 6] = [
    ("options", ErrorCode::OPTIONS),
    ("input", ErrorCode::INPUT),
    ("unsupported", ErrorCode::UNSUPPORTED),
    ("state", ErrorCode::STATE),
    ("cancelled", ErrorCode::CANCELLED),
    ("failed", ErrorCode::FAILED),
];

/// The code of a name; that of failures for any other.
pub fn code_of(name: &str) -> ErrorCode {
    CODES.iter().find(|(known, _)| *known == name).map_or(ErrorCode::FAILED, |(_, code)| *code)
}

/// Does what a frame asks for and gives the answer's bytes: none for what needs no answer.
pub fn serve(host: &Host, corpus: Option<&Corpus<'_>>, ask: &Frame) -> Vec<u8> {
    answer(host, corpus, ask).unwrap_or_else(|e| {
        let code = CODES.iter().find(|(_, code)| *code == e.code()).map_or("failed", |(name, _)| *name);
        frame(json!({ "error": e.message(), "code": code }), &[])
    })
}

fn answer(host: &Host, corpus: Option<&Corpus<'_>>, ask: &Frame) -> Result<Vec<u8>, Error> {
    let head = &ask.head;
    let numbers = |out: &[f32], shape: Vec<usize>| frame(json!({ "ok": true }), &[Array::F32(out, shape)]);
    match head["service"].as_str().unwrap_or_default() {
        "log" => {
            host.log(level(&head["level"]), head["message"].as_str().unwrap_or_default());
            Ok(Vec::new())
        }
        "progress" => {
            let fraction = head["fraction"].as_f64().unwrap_or_default() as f32;
            host.progress(fraction, head["note"].as_str().unwrap_or_default());
            Ok(Vec::new())
        }
        "cancelled" => Ok(frame(json!({ "ok": true, "cancelled": host.cancelled() }), &[])),
        "hidden_states" => {
            let (width, layer) = (host.model()?.hidden_size, layer(host, &head["layer"])?);
            let pooling = pooling(&head["pooling"])?;
            with_samples(ask, |samples| {
                let mut out = vec![0.0; samples.len() * width];
                host.hidden_states(samples, layer, pooling, &mut out)?;
                Ok(numbers(&out, vec![samples.len(), width]))
            })
        }
        "token_states" => {
            let (width, layer) = (host.model()?.hidden_size, layer(host, &head["layer"])?);
            with_samples(ask, |samples| {
                let tokens = samples.iter().map(|s| s.prompt_ids.len() + s.response_ids.len()).sum();
                let mut out = vec![0.0; tokens * width];
                host.token_states(samples, layer, &mut out)?;
                Ok(numbers(&out, vec![tokens, width]))
            })
        }
        "prefix_nll" => {
            let prefixes = ask.array(1)?;
            let (numbers, shape) = (prefixes.f32s()?, &prefixes.shape);
            with_samples(ask, |samples| prefix_nll(host, samples, &numbers, shape, head["gradients"] == true))
        }
        "read" => {
            let corpus =
                corpus.ok_or_else(|| Error::input("samples can be read while `fit` runs, and at no other time"))?;
            let index = |i: &Value| i.as_u64().map(|i| i as usize);
            let indices = head["indices"].as_array().and_then(|all| all.iter().map(index).collect::<Option<Vec<_>>>());
            let read = corpus.read(&indices.ok_or_else(|| Error::input("`indices` must be numbers from 0"))?)?;
            let samples: Vec<Sample<'_>> = read.iter().map(ldalign_sdk::OwnedSample::as_sample).collect();
            let (about, ids) = samples_to(&samples);
            Ok(frame(json!({ "ok": true, "samples": about }), &[Array::U32(&ids)]))
        }
        other => Err(Error::unsupported(format!("this host has no service `{other}`"))),
    }
}

fn prefix_nll(
    host: &Host,
    samples: &[Sample<'_>],
    prefixes: &[f32],
    shape: &[usize],
    with_gradients: bool,
) -> Result<Vec<u8>, Error> {
    let width = host.model()?.hidden_size;
    let &[n, _, numbers] = shape else {
        return Err(Error::input(format!("prefixes of shape {shape:?}: [samples, k, {width}] is needed")));
    };
    if n != samples.len() || numbers != width {
        let count = samples.len();
        return Err(Error::input(format!("prefixes of shape {shape:?}: [{count}, k, {width}] is needed")));
    }
    let mut nll = vec![0.0; n];
    let mut gradients = vec![0.0; if with_gradients { prefixes.len() } else { 0 }];
    host.prefix_nll(samples, prefixes, &mut nll, &mut gradients)?;
    let mut arrays = vec![Array::F32(&nll, vec![n])];
    if with_gradients {
        arrays.push(Array::F32(&gradients, shape.to_vec()));
    }
    Ok(frame(json!({ "ok": true }), &arrays))
}

fn level(name: &Value) -> Level {
    match name.as_str() {
        Some("warn") => Level::Warn,
        Some("debug") => Level::Debug,
        _ => Level::Info,
    }
}

fn layer(host: &Host, layer: &Value) -> Result<usize, Error> {
    let layer: Layer = serde_json::from_value(layer.clone()).map_err(|e| Error::input(e.to_string()))?;
    layer.resolve(host.model()?.num_layers)
}

fn pooling(name: &Value) -> Result<Pooling, Error> {
    match name.as_str() {
        Some("mean") => Ok(Pooling::Mean),
        Some("last") => Ok(Pooling::Last),
        Some("mean-all") => Ok(Pooling::MeanAll),
        _ => Err(Error::input(format!("pooling {name}: one of \"mean\", \"last\" and \"mean-all\" is needed"))),
    }
}
