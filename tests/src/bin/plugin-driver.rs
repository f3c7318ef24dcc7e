//! `plugin-driver PATH ID`: loads a distance and measures one pair, in a process that may end while it does.

use ldalign::{
    Result,
    config::PluginChoice,
    library::Kind,
    plugin::{Finder, PROBE_COMMAND, probe_main},
};
use ldalign_sdk::LatentShape;
use ldalign_tests::Bare;
use std::{process::ExitCode, sync::Arc, time::Duration};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|a| a == PROBE_COMMAND).is_some() {
        return probe_main(args);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, id] = args.as_slice() else {
        eprintln!("expected PATH ID");
        return ExitCode::from(2);
    };
    match measure(path, id) {
        Ok(distance) => {
            println!("{distance:e}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error[{}]: {e:#}", e.code());
            ExitCode::FAILURE
        }
    }
}

fn measure(path: &str, id: &str) -> Result<f32> {
    let choice = PluginChoice { plugin: path.into(), id: Some(id.into()), options: Default::default() };
    let finder = Finder { probe_limit: Duration::from_secs(5), ..Finder::new(&[]) };
    let distance = finder.load(Kind::Distance, &choice)?.distance(Arc::new(Bare))?;
    // A denormal distance: 0 where the floating-point mode was changed and not put back.
    let distances = distance.distances(&[1.0, 1e-40], &[1.0, 0.0], LatentShape { slots: 1, dim: 2 })?;
    distance.close()?;
    Ok(distances[0])
}
