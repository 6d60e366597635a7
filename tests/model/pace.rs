//! How soon the end of a run is seen that nobody watches, over simulated time.

use std::time::Duration;

use testgate::backend::Lists;

use crate::upstream::{End, Stage, Upstream};
use crate::{Case, World, in_simulated_time, parent};

/// How long each run takes.
const RUN: Duration = Duration::from_secs(100);
/// So many runs tell how long the next one takes.
const ENOUGH: usize = 3;

/// The steps from a run's end until the gateway knows of it.
async fn steps_to_learn_of_an_end(world: &mut World, run: usize) -> u32 {
    let started = world.gateway().begin(&parent(0), &run.to_string()).await.unwrap();
    assert!(started.name.ends_with(&Upstream::id(run)));
    world.upstream.move_to(run, Stage::Running);
    world.pass(u32::try_from(RUN.as_millis() / crate::STEP.as_millis()).unwrap()).await;
    world.upstream.move_to(run, Stage::Ended(End::Passed));
    let mut steps = 0;
    while !world.gateway().get(&started.name, false).await.unwrap().done {
        world.pass(1).await;
        steps += 1;
    }
    steps
}

#[test]
fn an_end_is_expected_from_how_long_runs_of_the_test_took_in_this_process_and_before() {
    in_simulated_time(async {
        let mut world = World::new(&Case { lists: Lists::None, outlines: false, ops: Vec::new() });
        for run in 0..ENOUGH {
            let steps = steps_to_learn_of_an_end(&mut world, run).await;
            assert!(steps > 20, "nothing says that run {run} ends: {steps}");
        }
        for run in ENOUGH..ENOUGH + 2 {
            let steps = steps_to_learn_of_an_end(&mut world, run).await;
            assert!(steps < 10, "the end of run {run} was expected: {steps}");
            world.restart(false).await;
        }
        world.finish().await;
    });
}
