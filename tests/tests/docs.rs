//! The documents say what the program is now: every key of a config, every code of an error, and the program finds its
//! plugins where `make install` puts them.
#![allow(clippy::unwrap_used)]

use ldalign::Code;
use ldalign_tests::{built, host_binary, runs, workspace_root};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn document(name: &str) -> String {
    fs::read_to_string(workspace_root().join("docs").join(name)).unwrap()
}

#[test]
fn the_reference_of_configs_is_current() {
    let out = Command::new(host_binary()).args(["schema", "--markdown"]).output().unwrap();
    let printed = String::from_utf8(out.stdout).unwrap();
    assert!(printed.contains("| `rounds` |"));
    assert!(printed == document("configuration.md"), "ldalign schema --markdown > docs/configuration.md");
}

#[test]
fn every_code_is_in_troubleshooting() {
    let text = document("troubleshooting.md");
    let told: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line[2..].split(" | ").next().unwrap().split(", "))
        .map(|code| code.trim_matches('`'))
        .collect();
    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(told, all);
}

/// Links of the documents and of the README lead to files.
#[test]
fn links_lead_somewhere() {
    let root = workspace_root();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut links = 0;
    for path in
        docs.chain(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)))
    {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split([')', '#']).next().unwrap();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            links += 1;
            assert!(path.with_file_name(link).exists(), "{}: {link}", path.display());
        }
    }
    assert!(links > 20);
}

#[test]
fn an_installed_program_finds_its_plugins_and_a_moved_one_says_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    let (bin, lib) = (dir.path().join("bin"), dir.path().join("lib/ldalign"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&lib).unwrap();
    let program = bin.join("ldalign");
    fs::copy(host_binary(), &program).unwrap();
    let config = runs::config(dir.path(), "generate: { samples: 1, max_new_tokens: 8 }");
    let check = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(dir.path()).arg("check").arg(&config).env_remove("LDALIGN_PLUGINS");
        command.env("HOME", dir.path()).env_remove("XDG_DATA_HOME").output().unwrap()
    };
    let out = check(&program);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("or LDALIGN_PLUGINS names their directory"), "{said}");
    for name in ["encoder_policy_states", "distance_euclidean", "schedule_linear"] {
        let library = format!("libldalign_{name}.so");
        fs::copy(built().join(&library), lib.join(&library)).unwrap();
    }
    // By a link, too.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    for program in [&program, &link] {
        let out = check(program);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn the_manual_has_a_page_for_every_command_and_shells_learn_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(host_binary()).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    run(&["man", dir.path().to_str().unwrap()]);
    for page in ["ldalign.1", "ldalign-run.1", "ldalign-plugin-install.1"] {
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains("ldalign"), "{page}: {text:.200}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("quickstart"), "{shell}");
    }
}
