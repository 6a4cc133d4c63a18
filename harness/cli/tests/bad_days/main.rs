//! Bad days: the harness is killed, interrupted, without disk, on a machine that lacks something; and what was saved is
//! damaged. Each time nothing of ours may be left, and the reason must be said.
//!
//! What needs a container engine, or a right that this machine does not give, is listed as ignored with the reason.

#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test program with a main of its own")]

mod full_disk;
mod interrupted;
mod killed;
mod lacking;
mod saved;
mod swept;
mod watch;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let engine = watch::engine_missing();
    let namespaces = full_disk::namespaces_missing();
    let trials = vec![
        always("killed_at_ten_moments::process", || killed::at_ten_moments("process")),
        given(&engine, "killed_at_ten_moments::docker", || killed::at_ten_moments("docker")),
        always("interrupted::at_several_moments", interrupted::at_several_moments),
        always("interrupted::at_random_moments::process", || interrupted::at_random_moments("process")),
        given(&engine, "interrupted::at_random_moments::docker", || interrupted::at_random_moments("docker")),
        always("interrupted::twice", interrupted::twice),
        given(&engine, "interrupted::docker", interrupted::docker),
        always("full_disk::a_file_that_may_not_grow", full_disk::a_file_that_may_not_grow),
        given(&namespaces, "full_disk::no_space_left", full_disk::no_space_left),
        always("lacking::an_engine", lacking::an_engine),
        always("lacking::a_program", lacking::a_program),
        always("lacking::a_port", lacking::a_port),
        always("lacking::readiness", lacking::readiness),
        given(&engine, "lacking::an_image", lacking::an_image),
        always("saved::a_run_and_what_becomes_of_it", saved::a_run_and_what_becomes_of_it),
        always("swept::a_dry_run_and_the_living", swept::a_dry_run_and_the_living),
        given(&engine, "swept::objects_of_a_dead_harness", swept::objects_of_a_dead_harness),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn always(name: &'static str, run: fn()) -> Trial {
    given(&None, name, run)
}

/// A trial that is ignored, with the reason beside its name, where something is missing.
fn given(missing: &Option<String>, name: &'static str, run: impl FnOnce() + Send + 'static) -> Trial {
    let trial = Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    });
    match missing {
        None => trial,
        Some(why) => trial.with_kind(why.clone()).with_ignored_flag(true),
    }
}
