//! Calls of a script, in this process: what is wrong with one is said with its file, line and method.

use super::*;

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn faults_of_a_call_are_told_with_line_and_method() {
    let dir = dir();
    let fault = |body: &str| text(&measure(&distance(dir.path(), &class(body), json!({}))).unwrap_err());
    for (body, message) in [
        ("return np.full(len(a), np.nan)", "my.py: Distance.distances returned NaN for pair 0 of 2"),
        ("return [1.0, -1.0]", "my.py: Distance.distances returned -1 for pair 1 of 2"),
        ("return [1.0]", "my.py: Distance.distances returned an array of shape [1], not [2]"),
        ("return a[:, 0]", "my.py: Distance.distances returned an array of shape [2, 2], not [2]"),
        ("a - b", "my.py: Distance.distances returned None: is a `return` missing?"),
        ("return ['x', 'y']", "my.py: Distance.distances returned list that is no array of numbers"),
        ("return [[1.0], [1.0, 2.0]]", "my.py: Distance.distances returned list that is no array of numbers"),
        ("os._exit(3)", "my.py: Distance.distances did not return: its process ended with status 3"),
        (
            "print('so long', file=sys.stderr)\nos.abort()",
            "my.py: Distance.distances did not return: its process aborted (SIGABRT); it said: so long",
        ),
        ("os.kill(os.getpid(), 11)", "its process touched memory it does not own (SIGSEGV)"),
        ("sys.exit('enough')", "my.py, line 6, in distances: SystemExit: enough"),
    ] {
        let got = fault(body);
        assert!(got.starts_with("error[plugin/failed]: failed in distances: my.py"), "{body}:\n{got}");
        assert!(got.contains(message), "{body}:\n{got}\n{message}");
    }
    let script = "class Distance:\n    def distances(self, a, b):\n        return self.ratio(a)\n\n    def ratio(self, a):\n        return 1 / 0\n";
    let e = measure(&distance(dir.path(), script, json!({}))).unwrap_err();
    let path = dir.path().join("my.py").canonicalize().unwrap().display().to_string();
    // Without the marks that newer versions of Python put below.
    let told = text(&e);
    let told: Vec<&str> = told.lines().filter(|line| !line.trim().chars().all(|c| "^~".contains(c))).collect();
    assert_eq!(
        told.join("\n"),
        format!(
            "error[plugin/failed]: failed in distances: my.py, line 6, in ratio: ZeroDivisionError: division by zero\n  \
             File \"{path}\", line 3, in distances\n    return self.ratio(a)\n  \
             File \"{path}\", line 6, in ratio\n    return 1 / 0"
        )
    );
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn an_exception_leaves_the_script_at_work_and_an_end_does_not() {
    let dir = dir();
    let script = class(
        "if a[0, 0, 0] < 0:\n    raise ValueError('negative')\nif a[0, 0, 0] > 9:\n    os._exit(0)\nreturn b[:, 0, 0]",
    );
    let distance = distance(dir.path(), &script, json!({}));
    let at = |x: f32| distance.distances(&[x, 0.0], &[2.0, 0.0], PAIR);
    assert_eq!(at(1.0).unwrap(), [2.0]);
    assert!(text(&at(-1.0).unwrap_err()).contains("my.py, line 7, in distances: ValueError: negative"));
    assert_eq!(at(1.0).unwrap(), [2.0]);
    assert!(text(&at(10.0).unwrap_err()).ends_with("its process ended with status 0"));
    let e = text(&at(1.0).unwrap_err());
    assert!(e.ends_with("my.py: Distance.distances is not called: its process has ended before"), "{e}");
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn a_call_that_hangs_is_named_and_its_process_ends() {
    let dir = dir();
    let body = "open('pid', 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)";
    let hung = distance(dir.path(), &class(body), json!({ "timeout": 1 }));
    let start = Instant::now();
    let e = text(&measure(&hung).unwrap_err());
    assert!(e.ends_with("my.py: Distance.distances has neither returned nor asked anything for 1 s"), "{e}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the process is still there");
    // One that asks is at work, however long it takes.
    let body = "for _ in range(15):\n    time.sleep(0.2)\n    self.host.cancelled()\nreturn a[:, 0, 0]";
    assert!(measure(&distance(dir.path(), &class(body), json!({ "timeout": 1 }))).is_ok());
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn faults_of_a_script_are_found_before_a_run() {
    let dir = dir();
    let refused = |script: &str, more: Value| text(&load(dir.path(), script, more).err().expect("it is refused"));
    let ok = class("return a[:, 0, 0]");
    let with_args = "class Distance:\n    def __init__(self, scale=1.0):\n        self.scale = scale\n";
    let fail = "class Distance:\n    def __init__(self):\n        raise ValueError('bad luck')\n";
    for (script, more, message) in [
        ("class Distance\n", json!({}), "my.py, line 1: SyntaxError: "),
        (
            "import nothing_of_this_name\n",
            json!({}),
            "my.py, line 1, in <module>: ModuleNotFoundError: No module named",
        ),
        ("class Mine: pass\n", json!({}), "my.py: it has no class Distance; its classes: Mine"),
        (
            with_args,
            json!({"args": {"scael": 1}}),
            "args do not fit Distance(scale=1.0): got an unexpected keyword argument 'scael'",
        ),
        (fail, json!({}), "failed in new: my.py, line 3, in __init__: ValueError: bad luck"),
        (&ok, json!({"script": "/nowhere/my.py"}), "options: script: there is no /nowhere/my.py"),
        (&ok, json!({"files": ["/nowhere"]}), "options: files: there is no /nowhere"),
        (&ok, json!({"interpreter": "no-such-python"}), "`no-such-python` cannot be started"),
        (&ok, json!({"interpreter": "python3", "command": []}), "`command` runs the script without Python"),
        (&ok, json!({"timeout": 0}), "timeout 0 leaves no time"),
        (&ok, json!({"scripts": "x"}), "unknown field `scripts`"),
    ] {
        let got = refused(script, more);
        assert!(got.contains(message), "{message}\n{got}");
    }
    // What is written to stdout by another way than ours is no frame.
    fs::write(dir.path().join("loud.sh"), "echo hello there").unwrap();
    let loud = json!({ "command": ["sh"], "script": dir.path().join("loud.sh") });
    let got = refused(&ok, loud);
    assert!(
        got.contains("Distance.new what came on its stdout is no message of the protocol, but begins with \"hell\""),
        "{got}"
    );
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn code_beside_a_script_is_named_or_refused() {
    let dir = dir();
    fs::write(dir.path().join("helper.py"), "def far(a):\n    return a[:, 0, 0]\n").unwrap();
    let script = "import helper\nimport numpy as np\n\nclass Distance:\n    def distances(self, a, b):\n        return helper.far(b)\n";
    let e = load(dir.path(), script, json!({})).err().unwrap();
    assert!(
        text(&e).contains(
            "my.py: it imports helper.py beside it, whose contents no run would record: name it under `files`"
        )
    );
    let plugin = load(dir.path(), script, json!({ "files": [dir.path().join("helper.py")] })).unwrap();
    assert_eq!(plugin.record().files.keys().collect::<Vec<_>>(), ["files[0]", "script"]);
    assert_eq!(measure(&plugin.distance(Arc::new(Bare)).unwrap()).unwrap(), [3.0, 1.0]);
    assert!(!dir.path().join("__pycache__").exists(), "something was written beside the script");
    // What is installed is not beside it, even where that lies below.
    let package = dir.path().join("lib/site-packages");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("installed.py"), "far = abs\n").unwrap();
    let installed =
        script.replace("import helper\n", "import sys\nsys.path.append('lib/site-packages')\nimport installed\n");
    load(dir.path(), &installed, json!({})).unwrap();
    // Imported only in a call.
    let late = script.replace("import helper\n", "").replace("        return", "        import helper\n        return");
    let e = measure(&distance(dir.path(), &late, json!({}))).unwrap_err();
    assert!(text(&e).contains("it imports helper.py beside it"), "{e}");
    // Code that no lock file pins is not run where that is demanded.
    let options = plugin.record().options.as_object().unwrap().clone();
    let locked = Finder { locked: true, search_path: vec![], ..finder() };
    let e = locked.load(Kind::Distance, &PluginChoice { options, ..PluginChoice::bundled("python") }).err().unwrap();
    assert_eq!(e.code(), Code::PluginUntrusted, "{e}");
}

#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn what_a_script_prints_goes_to_the_log() {
    struct Ears(Mutex<Vec<String>>);
    impl Services for Ears {
        fn log(&self, level: Level, message: &str) {
            self.0.lock().unwrap().push(format!("{level:?} {message}"));
        }
    }
    let dir = dir();
    let body = "print('to stdout')\nos.system('echo of a child')\nsys.stderr.write('to stderr')\nself.host.log('by name', 'warn')\nreturn a[:, 0, 0]";
    let plugin = load(dir.path(), &class(body), json!({})).unwrap();
    let ears = Arc::new(Ears(Mutex::default()));
    let distance = plugin.distance(ears.clone()).unwrap();
    assert_eq!(measure(&distance).unwrap(), [0.0, 1.0]);
    distance.close().unwrap();
    let mut heard = ears.0.lock().unwrap().clone();
    heard.sort();
    assert_eq!(heard, ["Info of a child", "Info to stderr", "Info to stdout", "Warn by name"]);
}

/// The guide's other language: a program that speaks the protocol by itself, here in Python for want of another that is
/// on every machine.
#[test]
#[ignore = "needs python3 with NumPy: make test-languages"]
fn a_program_may_speak_the_protocol_by_itself() {
    let dir = dir();
    let guide = fs::read_to_string(workspace_root().join("docs/python-plugins.md")).unwrap();
    let (_, program) = guide.split_once("```python\n#!").expect("the guide has a program");
    let (program, _) = program.split_once("```").unwrap();
    let path = dir.path().join("manhattan");
    fs::write(&path, format!("#!{program}")).unwrap();
    let measured = |command: Value| {
        let options = json!({ "script": path, "command": command });
        measure(&distance(dir.path(), "", options)).unwrap()
    };
    assert_eq!(measured(json!(["python3"])), [7.0, 0.0]);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(measured(json!([])), [7.0, 0.0]);
}
