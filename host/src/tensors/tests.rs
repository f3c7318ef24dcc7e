//! What is written is what the format's other readers see, and what is not as announced is refused.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Code, Error, files};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, tensor::TensorView};
use std::{collections::HashMap, path::Path};

fn bad(path: &Path, what: String) -> Error {
    Error::new(Code::FileTensors, format!("{}: {what}", path.display()))
}

#[test]
fn candle_reads_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let t = Tensor::arange(0f32, 6., &Device::Cpu).unwrap().reshape((2, 3)).unwrap().t().unwrap();
    let specs = [Spec::f32("b", &[3, 2]), Spec::f32("a", &[1])];
    let hash = write_verified(&path, &specs, |out| {
        out.tensor(&t)?;
        Ok(out.f32(&[7.])?)
    });
    assert_eq!(hash.unwrap(), files::sha256_file(&path).unwrap());
    let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(read["b"].to_vec2::<f32>().unwrap(), t.to_vec2::<f32>().unwrap());
    let tensors = TensorFile::open(&path, bad).unwrap();
    assert_eq!(tensors.f32("a", &[1], bad).unwrap(), [7.]);
    assert_eq!(tensors.f32("b", &[3, 2], bad).unwrap(), [0., 3., 1., 4., 2., 5.]);
    let message = |name, shape: &[usize]| tensors.f32(name, shape, bad).unwrap_err().to_string();
    assert!(message("b", &[2, 3]).ends_with("b is F32 [3, 2]; expected F32 [2, 3]"));
    assert!(message("c", &[1]).ends_with("there is no tensor c"));
}

#[test]
fn the_bytes_are_those_of_the_formats_own_library() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let (a, b) = ([1f32, 2., 3.], [4f32, 5., 6., 7.]);
    let specs = [Spec::f32("a", &[3]), Spec::f32("b", &[2, 2])];
    for about in [&[][..], &[("fit", "{\"gain\":0.5}")]] {
        write(&path, about, &specs, |out| {
            out.f32(&a)?;
            // In pieces as well as whole.
            out.f32(&b[..1])?;
            Ok(out.f32(&b[1..])?)
        })
        .unwrap();
        let view = |shape: &[usize], x| TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(x)).unwrap();
        let told: HashMap<_, _> = about.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let parts = [("a", view(&[3], &a)), ("b", view(&[2, 2], &b))];
        let expected = safetensors::serialize(parts, (!told.is_empty()).then_some(told)).unwrap();
        assert_eq!(files::read(&path).unwrap(), expected);
        assert_eq!(TensorFile::open(&path, bad).unwrap().about("fit"), about.first().map(|(_, text)| *text));
    }
}

#[test]
fn more_or_fewer_numbers_than_announced_and_errors_of_the_source_leave_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    for numbers in [&[1f32][..], &[1., 2., 3.]] {
        let e = write(&path, &[], &[Spec::f32("a", &[2])], |out| Ok(out.f32(numbers)?)).unwrap_err();
        assert_eq!(e.code(), Code::FileTensors);
        let bytes = 4 * numbers.len();
        assert!(e.to_string().ends_with(&format!("{bytes} bytes of numbers, the header announces 8")), "{e}");
    }
    let e = write(&path, &[], &[], |_| Err(Error::new(Code::DataRow, "row 7").into())).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::DataRow, "row 7"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
