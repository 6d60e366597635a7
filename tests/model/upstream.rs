//! A system of tests that does what a case says, and remembers what really happened.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use testgate::backend::{
    Allowance, Backend, BackendError, Call, ErrorKind, Found, ListHint, Listed, Lists, Page, PageRequest,
    Polling, ProbeResult, Record, StartIntent, StartOptions, StartPlan, Started, Target,
};
use testgate::model::{
    Artifact, BackendId, BackendInfo, Capabilities, Clock, ConnectDetails, Details, ExecutionId, ItemKind,
    Kind, Labels, Observation, ResultItem, StartMode, State, StopScope, Test, TestId, Timestamp, Verdict,
};
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) const BACKEND: &str = "fake";
pub(crate) const TESTS: [&str; 2] = ["a", "b"];
/// How long every call takes.
const LATENCY: Duration = Duration::from_millis(20);
/// Small, so that lists have several pages.
const PAGE: usize = 20;

/// What a run is really doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Pending,
    Running,
    /// Ended, and what it came to is not there yet.
    Settling,
    Ended(End),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Passed,
    Failed,
    Broken,
    Stopped,
}

/// How the system behaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Well,
    Unreachable,
    Throttling,
    /// Answers nothing for as long as a caller waits.
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) test: usize,
    pub(crate) stage: Stage,
    pub(crate) ended_at: Option<Timestamp>,
    created_at: Timestamp,
    token: Option<String>,
    /// How many answers still show it running after its end.
    stale: u32,
}

#[derive(Debug, Default)]
struct World {
    runs: Vec<Run>,
    mood: Mood,
    lists: Lists,
    /// Lists tell of an end without what it came to.
    outlines: bool,
}

/// Cheap to clone; all clones are the same system.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    world: Arc<Mutex<World>>,
    clock: Clock,
}

impl Upstream {
    pub(crate) fn new(clock: Clock, lists: Lists, outlines: bool) -> Self {
        Self { world: Arc::new(Mutex::new(World { lists, outlines, ..World::default() })), clock }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn runs(&self) -> Vec<Run> {
        self.world().runs.clone()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.world().mood = mood;
    }

    /// A run that somebody else starts.
    pub(crate) fn begin(&self, test: usize) -> usize {
        let mut world = self.world();
        world.runs.push(Run {
            test,
            stage: Stage::Pending,
            ended_at: None,
            created_at: self.clock.now(),
            token: None,
            stale: 0,
        });
        world.runs.len() - 1
    }

    /// Moves a run on; where it has ended, nothing moves.
    pub(crate) fn move_to(&self, run: usize, stage: Stage) {
        let now = self.clock.now();
        if let Some(run) = self.world().runs.get_mut(run)
            && !matches!(run.stage, Stage::Ended(_))
            && (run.stage != Stage::Settling || matches!(stage, Stage::Ended(_)))
        {
            run.stage = stage;
            if matches!(stage, Stage::Settling | Stage::Ended(_)) {
                run.ended_at.get_or_insert(now);
            }
        }
    }

    /// The next answers about a run are from before its end.
    pub(crate) fn make_stale(&self, run: usize, answers: u32) {
        if let Some(run) = self.world().runs.get_mut(run) {
            run.stale = answers;
        }
    }

    pub(crate) fn id(run: usize) -> String {
        format!("run-{run}")
    }

    fn index(&self, id: &str) -> Option<usize> {
        let run = id.strip_prefix("run-")?.parse().ok()?;
        (run < self.world().runs.len()).then_some(run)
    }

    /// Every call: some time passes, and the system may not be well.
    async fn called(&self, call: &Call) -> Result<(), BackendError> {
        let mood = self.world().mood;
        let deadline_passed = || BackendError::new(ErrorKind::DeadlineExceeded, "the deadline passed");
        if Instant::now() + LATENCY >= call.deadline {
            return Err(deadline_passed());
        }
        sleep(LATENCY).await;
        match mood {
            Mood::Well => Ok(()),
            Mood::Unreachable => Err(BackendError::new(ErrorKind::UpstreamUnreachable, "nobody is there")),
            Mood::Throttling => Err(BackendError::new(ErrorKind::UpstreamThrottled, "slower, please")
                .with_retry_after(Some(Duration::from_secs(1)))),
            Mood::Silent => {
                sleep_until(call.deadline.min(Instant::now() + Duration::from_secs(10))).await;
                if Instant::now() >= call.deadline {
                    return Err(deadline_passed());
                }
                Err(BackendError::new(ErrorKind::UpstreamTimeout, "no answer"))
            }
        }
    }

    /// Whether a list by state has a run; a stale one has it running after its end.
    fn is_shown_in(&self, run: usize, state: State) -> bool {
        let world = self.world();
        let Run { stage, stale, .. } = &world.runs[run];
        let ended = matches!(stage, Stage::Settling | Stage::Ended(_));
        shown(if ended && *stale > 0 { Stage::Running } else { *stage }).1 == state
    }

    /// What an answer says of a run now.
    fn answer(&self, run: usize) -> Observation {
        let mut world = self.world();
        let run_state = &mut world.runs[run];
        let mut stage = run_state.stage;
        if run_state.stale > 0 && matches!(stage, Stage::Settling | Stage::Ended(_)) {
            run_state.stale -= 1;
            stage = Stage::Running;
        }
        let (status, state, verdict) = shown(stage);
        let mut observation = Observation::new(Self::id(run), status.to_owned(), state, verdict);
        observation.test = Some(TestId::new(TESTS[run_state.test]).unwrap());
        observation.create_time = Some(run_state.created_at);
        observation.end_time =
            run_state.ended_at.filter(|_| matches!(stage, Stage::Settling | Stage::Ended(_)));
        observation.details = Some(details());
        observation
    }
}

/// What a stage is to a caller.
pub(crate) fn shown(stage: Stage) -> (&'static str, State, Verdict) {
    match stage {
        Stage::Pending => ("INITIATED", State::Pending, Verdict::Pending),
        Stage::Running => ("IN_PROGRESS", State::Running, Verdict::Pending),
        Stage::Settling => ("FAILED", State::Settling, Verdict::Pending),
        Stage::Ended(End::Passed) => ("PASSED", State::Completed, Verdict::Passed),
        Stage::Ended(End::Failed) => ("FAILED", State::Completed, Verdict::Failed),
        Stage::Ended(End::Broken) => ("FAILED", State::Errored, Verdict::Inconclusive),
        Stage::Ended(End::Stopped) => ("STOPPED", State::Stopped, Verdict::Inconclusive),
    }
}

fn details() -> Details {
    Details::Connect(ConnectDetails { instance_id: "i".to_owned(), test_case_id: "t".to_owned() })
}

fn missing(what: &str) -> BackendError {
    BackendError::new(ErrorKind::UpstreamNotFound, format!("{what} does not exist"))
}

fn never<T>() -> Result<T, BackendError> {
    Err(BackendError::new(ErrorKind::CapabilityNotSupported, "no case asks for this"))
}

#[async_trait]
impl Backend for Upstream {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            id: BackendId::new(BACKEND).unwrap(),
            kind: Kind::AmazonConnect,
            display_name: "Fake".to_owned(),
            location: Labels::new(),
            poll_interval: Duration::from_millis(500),
            labels: Labels::new(),
            capabilities: Capabilities {
                start_mode: StartMode::NativeToken,
                stop_scope: StopScope::Execution,
                list_executions: true,
                record_execution: false,
                artifacts: false,
                result_kinds: &[ItemKind::Observation],
                filter_pushdown: &[],
            },
        }
    }

    fn polling(&self) -> Polling {
        Polling {
            lists: self.world().lists,
            page_size: PAGE,
            reads_say_more: false,
            list: Allowance::default(),
            read: Allowance::default(),
            upstream_now: self.clock.now(),
        }
    }

    async fn probe(&self, call: &Call) -> ProbeResult {
        self.called(call).await
    }

    async fn list_tests(&self, _: &Call, _: &PageRequest) -> Result<Page<Test>, BackendError> {
        never()
    }

    async fn get_test(&self, _: &Call, _: &TestId) -> Result<Test, BackendError> {
        never()
    }

    async fn plan_start(&self, call: &Call, _: &TestId, _: &StartOptions) -> Result<StartPlan, BackendError> {
        self.called(call).await?;
        Ok(StartPlan { details: details(), upstream_labels: Labels::new(), test_display_name: String::new() })
    }

    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError> {
        self.called(call).await?;
        let known = self.world().runs.iter().position(|run| run.token.as_ref() == Some(&intent.token));
        let run = known.unwrap_or_else(|| {
            let test = TESTS.iter().position(|test| *test == intent.test.as_str()).unwrap_or(0);
            let run = self.begin(test);
            self.world().runs[run].token = Some(intent.token.clone());
            run
        });
        let execution = Some(ExecutionId::new(&Self::id(run)).unwrap());
        Ok(Started { execution, observation: self.answer(run) })
    }

    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError> {
        let Started { execution, observation } = self.start(call, intent).await?;
        Ok(execution.map(|execution| Found { execution, observation }).into_iter().collect())
    }

    async fn stop(&self, call: &Call, target: &Target, _: &str) -> Result<(), BackendError> {
        self.called(call).await?;
        let run = self.index(target.execution.as_str()).ok_or_else(|| missing("the run"))?;
        self.move_to(run, Stage::Ended(End::Stopped));
        Ok(())
    }

    async fn record(&self, _: &Call, _: &TestId, _: &Record) -> Result<Found, BackendError> {
        never()
    }

    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError> {
        self.called(call).await?;
        let run = self.index(target.execution.as_str()).ok_or_else(|| missing("the run"))?;
        Ok(self.answer(run))
    }

    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        self.called(call).await?;
        // Newest first; a token says how many were shown, so that a run which begins meanwhile is shown twice.
        let shown: usize = page.token.as_deref().and_then(|token| token.parse().ok()).unwrap_or(0);
        let of_test = |run: &usize| {
            let name = TESTS[self.world().runs[*run].test];
            test.is_none_or(|test| test.as_str() == name)
        };
        let in_state = |run: &usize| hint.state.is_none_or(|state| self.is_shown_in(*run, state));
        let count = self.world().runs.len();
        let all: Vec<usize> = (0..count).rev().filter(of_test).filter(in_state).collect();
        let outlines = self.world().outlines;
        let size = page.size.clamp(1, PAGE);
        let items = all.iter().skip(shown).take(size).map(|run| {
            let observation = self.answer(*run);
            Listed {
                test: TestId::new(TESTS[self.world().runs[*run].test]).unwrap(),
                execution: ExecutionId::new(&Self::id(*run)).unwrap(),
                observation,
                complete: !outlines,
            }
        });
        let items: Vec<_> = items.collect();
        let next = (shown + items.len() < all.len()).then(|| (shown + items.len()).to_string());
        Ok(Page { items, next })
    }

    async fn list_items(
        &self,
        _: &Call,
        _: &Target,
        _: Option<ItemKind>,
        _: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        never()
    }

    async fn list_artifacts(&self, _: &Call, _: &Target) -> Result<Vec<Artifact>, BackendError> {
        never()
    }
}
