//! docs/certificates.md as an administrator follows it: every command in it is run, in its order.

use std::process::Command;

use crate::support::site::say;
use crate::{Two, has_no_error, own_file};

/// The blocks of commands of the document, each with its line.
fn blocks() -> Vec<(usize, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/certificates.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut is_inside = false;
    for (at, line) in text.lines().enumerate() {
        match line.trim() {
            "```sh" => {
                is_inside = true;
                blocks.push((at + 2, String::new()));
            }
            "```" => is_inside = false,
            line if is_inside => {
                let block = &mut blocks.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn the_documents_commands_work() {
    let two = Two::start();
    // The document's places: the configurations and the peers' files, and the data of site a.
    let etc = two.dir.path();
    let data_a = own_file(two.a(), "").parent().unwrap().to_owned();
    for (site, name) in [(two.a(), "a.toml"), (two.b(), "b.toml")] {
        std::fs::copy(site.config_path(), etc.join(name)).unwrap();
    }
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_syncer"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let blocks = blocks();
    assert!(blocks.len() > 8, "{} blocks", blocks.len());
    for (line, block) in blocks {
        let block = block
            .replace("/etc/syncer", etc.to_str().unwrap())
            .replace("/var/lib/syncer/a", data_a.to_str().unwrap());
        let out = Command::new("sh")
            .args(["-ec", &block])
            .env("PATH", &path)
            .current_dir(etc)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "docs/certificates.md:{line}\n{block}{}",
            say(&out)
        );
        two.writes_arrive(&format!("line{line}"));
    }
    let status = two.a().status().unwrap();
    assert!(has_no_error(&status), "{}", status.0);
    two.cluster.converge();
}
