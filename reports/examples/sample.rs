//! Writes every report of a made-up run into a folder, to look at: `cargo run -p gatecrash-reports --example sample -- target/sample`.

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod support;

use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    let record = support::sample();
    for (name, bytes) in gatecrash_reports::files(&record)? {
        std::fs::write(folder.join(name), bytes)?;
    }
    let text = gatecrash_reports::terminal::render_in(&record, Some(&folder), 140, true);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
