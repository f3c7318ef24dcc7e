//! Whole commands with scripts: runs, stops, checks, and what `plugin new` makes.

use super::*;

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn figures_equal_those_of_plugins_in_rust() {
    let dir = dir();
    let encoder = "class Encoder:
    def __init__(self):
        self.shape = self.host.model.hidden_size

    def encode(self, samples):
        return self.host.hidden_states(samples)
";
    fs::write(dir.path().join("my.py"), EUCLIDEAN).unwrap();
    fs::write(dir.path().join("states.py"), encoder).unwrap();
    let mut all = Vec::new();
    for more in [
        "",
        "distance: { plugin: python, options: { script: my.py } }",
        "encoder: { plugin: python, options: { script: states.py } }",
        "distance: { plugin: cosine }",
    ] {
        let config = runs::config(dir.path(), &format!("{SHORT}{more}\n"));
        runs::succeed(runs::command("score", &config, &[]));
        all.push(scores(&dir.path().join("run")));
        fs::remove_dir_all(dir.path().join("run")).unwrap();
    }
    let most = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(all[0].len() == 24 && all[0].iter().any(|d| *d > 0.1));
    assert!(most(&all[0], &all[1]) < 1e-6, "{}", most(&all[0], &all[1]));
    assert_eq!(all[0], all[2], "the states are those that the bundled encoder gets");
    assert!(most(&all[0], &all[3]) > 1e-3, "the comparison can fail");
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn the_example_s_run_ends_in_the_same_bits_when_killed() {
    let dir = dir();
    let text = fs::read_to_string(workspace_root().join("examples/python-plugins/run.yaml")).unwrap();
    let root = workspace_root().join("examples").display().to_string();
    let text =
        text.replace("../clean-golden", &format!("{root}/clean-golden")).replace("max_rows: 200", "max_rows: 24");
    let text = text.replace("script: plugins.py", &format!("script: {root}/python-plugins/plugins.py"));
    let run = |name: &str| {
        let of = dir.path().join(name);
        fs::create_dir(&of).unwrap();
        fs::write(of.join("run.yaml"), &text).unwrap();
        (of.join("run.yaml"), of.join("run"))
    };
    let sets = ["rounds=2", "threads=1"];
    let (config, whole) = run("whole");
    runs::succeed(runs::command("run", &config, &sets));
    let (config, killed) = run("killed");
    for stage in ["round-1/done/candidates.json", "round-1/done/pairs.json", "round-2/done/generate.json"] {
        let mut child = runs::command("run", &config, &sets).spawn().unwrap();
        assert!(runs::kill_when(&mut child, || killed.join(stage).exists()), "it ended before {stage}");
    }
    runs::succeed(runs::command("run", &config, &sets));
    let same = |run: &Path| {
        let mut all = runs::bytes(run);
        ["config.yaml", "manifest.json", "report.html"].iter().for_each(|name| drop(all.remove(Path::new(name))));
        all
    };
    assert_eq!(same(&killed), same(&whole));
    let manifest: Value = serde_json::from_str(&fs::read_to_string(whole.join("manifest.json")).unwrap()).unwrap();
    let sha256 = ldalign::files::sha256_file(&workspace_root().join("examples/python-plugins/plugins.py")).unwrap();
    for plugin in manifest["plugins"].as_array().unwrap() {
        assert_eq!(plugin["files"]["script"]["sha256"], sha256, "{plugin}");
    }
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn a_changed_script_is_named_and_a_moved_one_is_not() {
    let dir = dir();
    let project = dir.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("my.py"), EUCLIDEAN).unwrap();
    // The path starts at the config, wherever the program is started.
    let config =
        runs::config(&project, &format!("{SHORT}distance: {{ plugin: python, options: {{ script: my.py }} }}\n"));
    let mut command = runs::command("score", &config, &[]);
    command.current_dir("/");
    runs::succeed(command);
    let moved = dir.path().join("moved");
    fs::rename(&project, &moved).unwrap();
    let config = moved.join("config.yaml");
    fs::write(moved.join("my.py"), EUCLIDEAN.replace("** 2", "** 4")).unwrap();
    let out = runs::command("run", &config, &[]).output().unwrap();
    let told = said(&out);
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("error[run/changed]") && told.contains("plugins[1].files.script.sha256 was "), "{told}");
    assert!(!told.contains("path"), "only what lies there counts: {told}");
    fs::write(moved.join("my.py"), EUCLIDEAN).unwrap();
    runs::succeed(runs::command("run", &config, &[]));
    // The run's own copy of the config names the script, too.
    let copy = fs::read_to_string(moved.join("run/config.yaml")).unwrap();
    assert!(copy.contains("/project/my.py"), "{copy}");
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn a_stop_is_heard_while_a_script_is_at_work() {
    let dir = dir();
    let body = "open('pid', 'w').write(str(os.getpid()))\nwhile True: pass";
    fs::write(dir.path().join("my.py"), class(body)).unwrap();
    let config =
        runs::config(dir.path(), &format!("{SHORT}distance: {{ plugin: python, options: {{ script: my.py }} }}\n"));
    let child = runs::command("run", &config, &[]).spawn().unwrap();
    let (start, file) = (Instant::now(), dir.path().join("pid"));
    while fs::read_to_string(&file).unwrap_or_default().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "the script was not called");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    // SAFETY: signals a child that was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", said(&out));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let pid = fs::read_to_string(&file).unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the script is still at work");
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn scripts_end_with_a_program_that_was_killed() {
    let dir = dir();
    let body = "open('pid', 'w').write(str(os.getpid()))\nwhile True: time.sleep(0.1)";
    fs::write(dir.path().join("my.py"), class(body)).unwrap();
    let config =
        runs::config(dir.path(), &format!("{SHORT}distance: {{ plugin: python, options: {{ script: my.py }} }}\n"));
    let mut child = runs::command("run", &config, &[]).spawn().unwrap();
    let file = dir.path().join("pid");
    assert!(runs::kill_when(&mut child, || fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty())));
    let (pid, start) = (fs::read_to_string(&file).unwrap(), Instant::now());
    let at_work = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while at_work() {
        assert!(start.elapsed() < Duration::from_secs(20), "the script is still at work");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn plugin_timeout_holds_for_scripts() {
    let dir = dir();
    fs::write(dir.path().join("my.py"), class("while True: time.sleep(1)")).unwrap();
    let config = runs::config(
        dir.path(),
        &format!("{SHORT}plugin_timeout: 1\ndistance: {{ plugin: python, options: {{ script: my.py }} }}\n"),
    );
    let out = runs::command("run", &config, &[]).output().unwrap();
    assert!(
        said(&out).contains("my.py: Distance.distances has neither returned nor asked anything for 1 s"),
        "{}",
        said(&out)
    );
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn a_new_script_of_each_kind_passes_its_tests_and_the_checks() {
    let dir = dir();
    let ldalign = |args: &[&str], at: &Path| Command::new(host_binary()).args(args).current_dir(at).output().unwrap();
    for kind in ["encoder", "distance", "schedule"] {
        let name = format!("first-{kind}");
        let out = ldalign(&["plugin", "new", &name, "--kind", kind, "--python"], dir.path());
        assert!(out.status.success(), "{}", said(&out));
        let (made, script) = (dir.path().join(&name), format!("first_{kind}.py"));
        let test = Command::new("python3").arg(format!("test_{script}")).current_dir(&made).output().unwrap();
        assert!(test.status.success(), "{}", said(&test));
        let checks = ldalign(&["plugin", "check", "--time-limit", "300", &script], &made);
        assert!(checks.status.success() && said(&checks).contains(" 0 failed"), "{}", said(&checks));
        let left: Vec<PathBuf> = fs::read_dir(&made).unwrap().map(|e| e.unwrap().path()).collect();
        for file in left.iter().filter(|path| path.is_file()) {
            assert!(!fs::read_to_string(file).unwrap().contains("__NAME__"), "{} has a gap", file.display());
        }
    }
    let out = ldalign(&["plugin", "new", "x", "--kind", "distance", "--python", "--sdk", "."], dir.path());
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    fs::write(dir.path().join("none.py"), "x = 1\n").unwrap();
    let out = ldalign(&["plugin", "check", "none.py"], dir.path());
    assert!(said(&out).contains("none.py has no class Encoder, Distance or Schedule"), "{}", said(&out));
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn the_example_keeps_every_rule() {
    drop(dir());
    let script = workspace_root().join("examples/python-plugins/plugins.py");
    let out = Command::new(host_binary())
        .args(["plugin", "check", "--time-limit", "300", "--json"])
        .arg(script)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let passed = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "pass");
    assert!(passed.count() > 100, "all three kinds are checked");
}
