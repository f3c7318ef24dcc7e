//! `host LIBRARY`: a host of boundary 1.1, as small as one can be. Loads the plugins called `old` and prints what they answer.

use ldalign_sdk::{
    Error, ModelFacts, OwnedSample, Pooling, Sample, Services,
    abi::{
        AbiResult, PluginModule_Ref, Shape, StepView,
        abi_stable::{
            StableAbi,
            abi_stability::abi_checking::check_layout_compatibility,
            library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL},
            std_types::RResult,
        },
    },
    lend, serve,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

struct Host;

impl Services for Host {
    fn seed(&self) -> u64 {
        41
    }
    fn model(&self) -> Option<ModelFacts> {
        Some(ModelFacts { vocab_size: 9, hidden_size: 2, num_layers: 1, max_positions: 64, end_ids: vec![0] })
    }
    fn hidden_states(&self, _: &[Sample<'_>], layer: usize, _: Pooling, out: &mut [f32]) -> Result<(), Error> {
        out.fill(layer as f32 + 0.5);
        Ok(())
    }
    fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), Error> {
        assert_eq!((out.len(), samples[0].response_ids), (6, &[4, 5][..]));
        out.fill(layer as f32 + 0.25);
        Ok(())
    }
    fn prefix_nll(&self, _: &[Sample<'_>], prefixes: &[f32], nll: &mut [f32], gradients: &mut [f32]) -> Result<(), Error> {
        nll.fill(prefixes.iter().sum());
        gradients.fill(8.0);
        Ok(())
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("the path of a library");
    let module = load(&path);
    assert!(module.descriptor_json()().as_str().contains("\"abi\":\"1."));
    let options = "{\"more\": 0.25}";
    got(module.validate_options()("distance".into(), "old".into(), options.into()));
    println!("schema {}", got(module.options_schema()("distance".into(), "old".into())).contains("Added to every distance"));

    let shape = Shape { slots: 1, dim: 2 };
    let mut distance = got(module.new_distance()("old".into(), options.into(), serve(Host)));
    got(distance.fit((&[0.0f32, 0.0, 1.0, 1.0][..]).into(), (&[1.0f32, 1.0, 4.0, 2.0][..]).into(), shape));
    let mut out = [f32::NAN];
    let pair = [[1.0f32, 2.0], [2.0, 4.0]];
    got(distance.distances((&pair[0][..]).into(), (&pair[1][..]).into(), shape, (&mut out[..]).into()));
    println!("distance {} state {:?}", out[0], got(distance.save()).as_slice());
    // Here a grown host asks what 1.1 did not know.
    got(distance.close());

    let corpus = vec![OwnedSample { response: "abc".into(), ..OwnedSample::default() }; 2];
    let mut encoder = got(module.new_encoder()("old".into(), "{}".into(), serve(Host)));
    let report = got(encoder.fit(lend(&corpus)));
    println!("encoder {:?} {} = {}", got(encoder.shape()), report[1].name, report[1].value);
    for figure in &report[2..] {
        println!("{} = {}", figure.name, figure.value);
    }
    println!("state {:?}", got(encoder.save()).as_slice());
    got(encoder.close());

    let mut schedule = got(module.new_schedule()("old".into(), "{}".into(), serve(Host)));
    got(schedule.begin_round((&[1.0f32, 3.0][..]).into()));
    let at = StepView { round: 0, rounds: 1, step: 1, total_steps: 2 };
    got(schedule.weights(at, (&[3.0f32][..]).into(), (&mut out[..]).into()));
    println!("weight {}", out[0]);
    got(schedule.close());
}

fn got<T>(result: AbiResult<T>) -> T {
    match result {
        RResult::ROk(value) => value,
        RResult::RErr(e) => panic!("{}: {}", e.code.0, e.message),
    }
}

/// Layouts may have grown on either side.
fn load(path: &str) -> PluginModule_Ref {
    // SAFETY: runs the library's constructors; the test that calls this has built it.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.expect("the library loads");
    // SAFETY: a symbol of this name is abi_stable's header by its naming rule.
    let header: AbiHeaderRef = *unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .expect("the entry symbol is there");
    std::mem::forget(library);
    let header: &'static LibHeader = header.upgrade().expect("one release of abi_stable");
    let (host, plugin) = (<PluginModule_Ref as StableAbi>::LAYOUT, header.layout().expect("a layout"));
    if check_layout_compatibility(host, plugin).is_err() {
        check_layout_compatibility(plugin, host).expect("layouts that agree in one direction");
    }
    // SAFETY: the layouts agree in one of the directions.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModule_Ref>() }.expect("a root module")
}
