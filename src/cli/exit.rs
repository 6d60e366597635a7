//! Exit codes, and which one a set of runs deserves.

use crate::proto::v1::execution::State;
use crate::proto::v1::{Execution, Verdict};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All passed; of other commands, all went well.
    Passed,
    /// At least one run failed.
    Failed,
    /// The command line was wrong.
    Usage,
    /// The gateway is away, a call failed, or the platform could not run the test.
    Trouble,
    /// `--timeout` passed first.
    TimedOut,
    /// Stopped, here or upstream.
    Stopped,
    /// Ended without a verdict that counts, or nothing ran.
    Inconclusive,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Trouble => 3,
            Self::TimedOut => 4,
            Self::Stopped => 5,
            Self::Inconclusive => 6,
            Self::Interrupted => 130,
        }
    }

    /// What one execution, as last seen, means. One that is not done is only asked about when time ran out.
    pub(crate) fn of(execution: &Execution) -> Self {
        if !execution.done {
            return Self::TimedOut;
        }
        // States and verdicts are open enums: what is not known here has not passed.
        match (State::try_from(execution.state), Verdict::try_from(execution.verdict)) {
            (Ok(State::Errored | State::Lost), _) => Self::Trouble,
            (Ok(State::Stopped), _) => Self::Stopped,
            (_, Ok(Verdict::Failed)) => Self::Failed,
            (Ok(State::Completed), Ok(Verdict::Passed)) => Self::Passed,
            _ => Self::Inconclusive,
        }
    }

    /// The worst of several; none at all is inconclusive, because nothing ran.
    pub(crate) fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        exits.into_iter().max_by_key(|exit| exit.weight()).unwrap_or(Self::Inconclusive)
    }

    fn weight(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::TimedOut => 1,
            Self::Stopped => 2,
            Self::Inconclusive => 3,
            Self::Failed => 4,
            Self::Trouble => 5,
            Self::Usage => 6,
            Self::Interrupted => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: State, verdict: Verdict) -> Execution {
        Execution { state: state.into(), verdict: verdict.into(), done: true, ..Execution::default() }
    }

    #[test]
    fn one_run_by_state_and_verdict() {
        let table = [
            (State::Completed, Verdict::Passed, 0),
            (State::Completed, Verdict::Failed, 1),
            (State::Completed, Verdict::Inconclusive, 6),
            (State::Completed, Verdict::None, 6),
            (State::Completed, Verdict::Pending, 6),
            (State::Completed, Verdict::Unspecified, 6),
            (State::Errored, Verdict::Inconclusive, 3),
            (State::Lost, Verdict::Inconclusive, 3),
            (State::Stopped, Verdict::Inconclusive, 5),
        ];
        for (state, verdict, code) in table {
            assert_eq!(Exit::of(&ended(state, verdict)).code(), code, "{state:?} {verdict:?}");
        }
    }

    #[test]
    fn unknown_enum_values_have_not_passed() {
        let mut run = ended(State::Completed, Verdict::Passed);
        run.state = 99;
        assert_eq!(Exit::of(&run), Exit::Inconclusive);
        let mut run = ended(State::Completed, Verdict::Passed);
        run.verdict = 99;
        assert_eq!(Exit::of(&run), Exit::Inconclusive);
        let mut run = ended(State::Completed, Verdict::Failed);
        run.state = 99;
        assert_eq!(Exit::of(&run), Exit::Failed);
    }

    #[test]
    fn what_is_not_done_ran_out_of_time() {
        let mut run = ended(State::Running, Verdict::Pending);
        run.done = false;
        assert_eq!(Exit::of(&run), Exit::TimedOut);
    }

    #[test]
    fn of_several_the_worst_counts() {
        let order =
            [Exit::Trouble, Exit::Failed, Exit::Inconclusive, Exit::Stopped, Exit::TimedOut, Exit::Passed];
        for (rank, worse) in order.iter().enumerate() {
            for better in order.iter().skip(rank) {
                assert_eq!(Exit::worst([*better, *worse]), *worse);
                assert_eq!(Exit::worst([*worse, *better]), *worse);
            }
        }
    }

    #[test]
    fn nothing_ran_is_inconclusive() {
        assert_eq!(Exit::worst([]).code(), 6);
    }
}
