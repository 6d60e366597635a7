//! From the gateway's ids to OpenMetadata's entities. Fully qualified names are the server's own, never assembled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::recent::Recent;
use super::wire::{Pipeline, Tag, TestCase};
use crate::model::{Labels, TestId};

/// Names change seldom, and one that did is noticed by its 404.
const CASE_TTL: Duration = Duration::from_secs(600);
/// A pipeline's subset of cases may be edited between runs.
const PIPELINE_TTL: Duration = Duration::from_secs(60);
const MAX_ENTRIES: usize = 20_000;
/// More tags than this are left out.
const MAX_TAGS: usize = 64;

/// What a test's id names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Subject {
    /// A test case.
    Case(Uuid),
    /// A pipeline that runs a suite.
    Pipeline(Uuid),
}

/// A test case, as far as calls about it need it.
#[derive(Clone, Debug)]
pub(super) struct CaseRef {
    pub(super) id: Uuid,
    pub(super) fqn: String,
    pub(super) display_name: String,
    pub(super) tags: Labels,
    pub(super) read: Instant,
}

/// A pipeline, as far as calls about it need it.
#[derive(Clone, Debug)]
pub(super) struct PipelineRef {
    pub(super) id: Uuid,
    pub(super) fqn: String,
    pub(super) display_name: String,
    pub(super) suite: Option<Uuid>,
    /// The names of the cases that it runs; `None` is all of the suite.
    pub(super) subset: Option<Vec<String>>,
    pub(super) tags: Labels,
    pub(super) read: Instant,
}

/// What is remembered of cases and pipelines.
#[derive(Debug)]
pub(super) struct Directory {
    cases: Recent<Uuid, Arc<CaseRef>>,
    pipelines: Recent<Uuid, Arc<PipelineRef>>,
}

impl Subject {
    /// Reads `case-{uuid}` or `pipeline-{uuid}`; a UUID has one spelling here, whatever upstream takes.
    pub(super) fn parse(test: &TestId) -> Option<Self> {
        let text = test.as_str();
        let uuid = |text: &str| Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text);
        if let Some(rest) = text.strip_prefix("case-") {
            uuid(rest).map(Self::Case)
        } else {
            uuid(text.strip_prefix("pipeline-")?).map(Self::Pipeline)
        }
    }

    /// The id that names it.
    pub(super) fn test_id(self) -> TestId {
        let text = match self {
            Self::Case(id) => format!("case-{id}"),
            Self::Pipeline(id) => format!("pipeline-{id}"),
        };
        TestId::new(&text).expect("a prefix and a UUID are a well-formed id")
    }
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { cases: Recent::new(MAX_ENTRIES, CASE_TTL), pipelines: Recent::new(MAX_ENTRIES, PIPELINE_TTL) }
    }

    pub(super) fn case(&self, id: Uuid) -> Option<Arc<CaseRef>> {
        self.cases.get(&id)
    }

    pub(super) fn pipeline(&self, id: Uuid) -> Option<Arc<PipelineRef>> {
        self.pipelines.get(&id)
    }

    pub(super) fn note_case(&self, case: &TestCase) -> Arc<CaseRef> {
        let entry = Arc::new(CaseRef {
            id: case.id,
            fqn: case.fully_qualified_name.clone(),
            display_name: shown(case.display_name.as_deref(), &case.name),
            tags: labels(&case.tags),
            read: Instant::now(),
        });
        self.cases.insert(case.id, Arc::clone(&entry));
        entry
    }

    pub(super) fn note_pipeline(&self, pipeline: &Pipeline) -> Arc<PipelineRef> {
        let subset = pipeline.source_config.config.test_cases.clone().filter(|names| !names.is_empty());
        let entry = Arc::new(PipelineRef {
            id: pipeline.id,
            fqn: pipeline.fully_qualified_name.clone(),
            display_name: shown(pipeline.display_name.as_deref(), &pipeline.name),
            suite: pipeline
                .service
                .as_ref()
                .filter(|owner| owner.kind.as_deref().is_none_or(|kind| kind == "testSuite"))
                .map(|owner| owner.id),
            subset,
            tags: labels(&pipeline.tags),
            read: Instant::now(),
        });
        self.pipelines.insert(pipeline.id, Arc::clone(&entry));
        entry
    }

    /// Forgets what was read before a moment. Returns whether there was such a thing, so that asking anew may help.
    pub(super) fn forget(&self, subject: Subject, before: Instant) -> bool {
        match subject {
            Subject::Case(id) => {
                let stale = self.cases.get(&id).is_some_and(|entry| entry.read < before);
                if stale {
                    self.cases.forget(&id);
                }
                stale
            }
            Subject::Pipeline(id) => {
                let stale = self.pipelines.get(&id).is_some_and(|entry| entry.read < before);
                if stale {
                    self.pipelines.forget(&id);
                }
                stale
            }
        }
    }
}

/// The name for people.
pub(super) fn shown(display_name: Option<&str>, name: &str) -> String {
    display_name.filter(|text| !text.is_empty()).unwrap_or(name).to_owned()
}

/// Tags as labels: the tag's full name is the key.
pub(super) fn labels(tags: &[Tag]) -> Labels {
    tags.iter().filter_map(|tag| tag.fqn.clone()).take(MAX_TAGS).map(|fqn| (fqn, "true".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uuid_has_one_spelling() {
        let parse = |text: &str| Subject::parse(&TestId::new(text).unwrap());
        let id = "1f0c1d7e-7a54-4f0e-9d7e-0a1b2c3d4e5f";
        assert!(matches!(parse(&format!("case-{id}")), Some(Subject::Case(_))));
        assert!(matches!(parse(&format!("pipeline-{id}")), Some(Subject::Pipeline(_))));
        for wrong in [
            id.to_owned(),
            format!("case-{}", id.to_uppercase()),
            format!("case-{}", id.replace('-', "")),
            format!("case-{{{id}}}"),
            "case-1-1-1-1-1".to_owned(),
            format!("suite-{id}"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_subject_survives_its_id(bits in any::<u128>(), case in any::<bool>()) {
            let id = Uuid::from_u128(bits);
            let subject = if case { Subject::Case(id) } else { Subject::Pipeline(id) };
            prop_assert_eq!(Subject::parse(&subject.test_id()), Some(subject));
        }
    }
}
