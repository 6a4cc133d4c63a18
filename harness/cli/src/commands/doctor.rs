//! `gatecrash doctor`: what can this machine do, and what is missing?

use super::put;
use crate::error::{Error, chain};
use crate::exit::Exit;
use crate::load::absolute;
use crate::prepare::find_executable;
use gatecrash_engine::executable::{on_path, search_path};
use gatecrash_engine::runtime::docker::engine;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// An address as labs use it: loopback, but not the usual one.
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 200, 1, 2);

pub(super) async fn run() -> Result<Exit, Error> {
    let mut lines = Vec::new();
    let target = absolute(Path::new("target"))?;
    let executable = find_executable(true, target.clone());
    lines.push(match &executable {
        Ok(place) => format!("ok       executable {}", place.display()),
        Err(error) => format!("missing  {error}"),
    });
    let loopback = TcpListener::bind((LOOPBACK, 0));
    lines.push(match &loopback {
        Ok(_) => "ok       runtime process: loopback addresses can be bound".to_owned(),
        Err(error) => format!("missing  runtime process: {LOOPBACK} cannot be bound: {error}"),
    });
    lines.push(match engine::connect().await {
        Ok(engine) => format!("ok       runtime docker: {}", engine.description),
        Err(error) => format!("missing  runtime docker: {}", chain(&error)),
    });
    let tools = target.join("tools");
    for (name, place, without) in [
        ("redis-server", tools.join("redis/redis-server"), "`make redis`; without it the store stub stands in"),
        ("envoy", tools.join("envoy"), "`make envoy`; without it Envoy deployments cannot run"),
        (
            "libfaketimeMT.so.1",
            tools.join("faketime/libfaketimeMT.so.1"),
            "`make faketime`; without it the clocks of gateways that are not ours stay right",
        ),
    ] {
        let found = place.is_file().then_some(place).or_else(|| on_path(name, &search_path()));
        lines.push(match found {
            Some(place) => format!("ok       {name}: {}", place.display()),
            None => format!("missing  {name}: {without}"),
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    lines.push(if cores >= 2 {
        format!("ok       {cores} cores")
    } else {
        "missing  a second core: timing claims may be inconclusive".to_owned()
    });
    put(&(lines.join("\n") + "\n"))?;
    Ok(if executable.is_ok() && loopback.is_ok() { Exit::AsDeclared } else { Exit::Preflight })
}
