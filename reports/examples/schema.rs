//! Prints the JSON Schema of `report.json`: `cargo run -p gatecrash-reports --example schema > reports/schema/report-1.0.json`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout().lock().write_all(gatecrash_reports::json::schema()?.as_bytes())?;
    Ok(())
}
