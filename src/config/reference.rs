//! The reference page, written from the rows.

use super::{ROWS, Row, peer_rows};
use std::fmt::Write;

const HEAD: &str = "\
# Configuration

One TOML file, given to every command as `--config FILE`. This page is written from the table of options in
`src/config/rows.rs`; a test compares them.

```toml
site = \"a\"                          # this site's name, unique
database_id = \"orders\"              # the same at every site
database = \"redis://user:password@127.0.0.1:6379\"
data_dir = \"/var/lib/syncer/a\"

[link]
listen = \"0.0.0.0:9400\"

[[peer]]                            # once for every other site
site = \"b\"
address = \"b.example.net:9400\"
certificate = \"/etc/syncer/b.pem\"
```

- Unknown keys are refused, with what was probably meant. All mistakes are reported at once, with their lines;
  the exit code is then 64.
- Every key outside `[[peer]]` can be overridden by an environment variable: `SYNCER_` and the key in capitals,
  with `_` for the dot. `link.listen` is `SYNCER_LINK_LISTEN`. Peers stand in the file only.
- Relative paths count from the folder of the file, also those given by a variable.
- Sizes: `\"512 KiB\"`, `\"64 MiB\"`, `\"8 GiB\"` (powers of 1024), `\"10 MB\"` (powers of 1000), or a number of
  bytes. Times: `\"500 ms\"`, `\"5 s\"`, `\"1 min\"`, `\"1 h\"`.
- Keys marked *secret* never appear in a log or a message.
";

const RESTART: &str = "- Every change counts from the next start of the syncer.\n";

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    if ROWS.iter().all(|row| !row.reloadable) {
        page.push_str(RESTART);
    }
    let mut section = None;
    for row in ROWS {
        let (here, _) = row.parts();
        if section != Some(here) {
            section = Some(here);
            let title = if here.is_empty() {
                "Top of the file".into()
            } else {
                format!("`[{here}]`")
            };
            let _ = write!(
                page,
                "\n## {title}\n\n| key | default | values | |\n| --- | --- | --- | --- |\n"
            );
        }
        line(&mut page, row);
    }
    page.push_str("\n## `[[peer]]`\n\nOne block for every other site; all three keys are required.\n\n");
    page.push_str("| key | values | |\n| --- | --- | --- |\n");
    for row in peer_rows() {
        let _ = writeln!(page, "| `{}` | {} | {} |", row.key, row.values, row.doc);
    }
    page
}

fn line(page: &mut String, row: &Row) {
    let default = match row.default {
        Some(default) => format!("`{default}`"),
        None if row.required => "required".into(),
        None => "none".into(),
    };
    let marks = [(row.secret, " *Secret.*"), (row.reloadable, " *Reloadable.*")];
    let marks: String = marks
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, mark)| *mark)
        .collect();
    let (_, key) = row.parts();
    let _ = writeln!(
        page,
        "| `{key}` | {default} | {} | {}{marks} |",
        row.values(),
        row.doc
    );
}
