//! What one caller uses at a moment, for `[limits]`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::LimitsConfig;

/// Beyond this many accounts, those that nobody uses are let go of.
const MANY: usize = 1024;
/// How much of a rate may come at once.
const BURST: Duration = Duration::from_secs(1);

/// More than a caller may have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Exceeded {
    /// Which limit, and how high it is.
    pub message: String,
    /// When it may be tried again, where that is known.
    pub retry_after: Option<Duration>,
}

/// The accounts of all callers of late.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<Arc<str>, Arc<Account>>>);

/// One caller's.
#[derive(Debug)]
pub(super) struct Account {
    /// When the calls so far will have been paid for, at their rate.
    paid_at: Mutex<Instant>,
    streams: AtomicUsize,
    names: AtomicUsize,
    starts: AtomicUsize,
}

/// Something counted, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    streams: usize,
    names: usize,
    starts: usize,
}

impl Accounts {
    pub(super) fn of(&self, subject: &Arc<str>) -> Arc<Account> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(subject) {
            return account.clone();
        }
        if accounts.len() >= MANY {
            let now = Instant::now();
            // What nobody holds and owes nothing is as good as new.
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || *account.paid_at() > now);
        }
        let account = Arc::new(Account::new());
        accounts.insert(subject.clone(), account.clone());
        account
    }
}

impl Account {
    fn new() -> Self {
        Self {
            paid_at: Mutex::new(Instant::now()),
            streams: AtomicUsize::new(0),
            names: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
        }
    }

    fn paid_at(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, at a rate of so many a second.
    pub(super) fn admit(&self, rate: f64) -> Result<(), Exceeded> {
        let price = Duration::from_secs_f64(1.0 / rate);
        let burst = BURST.max(price);
        let now = Instant::now();
        let mut paid_at = self.paid_at();
        let after = (*paid_at).max(now) + price;
        if after <= now + burst {
            *paid_at = after;
            return Ok(());
        }
        let message = format!("this caller may make {rate} calls a second");
        Err(Exceeded { message, retry_after: Some(after - (now + burst)) })
    }

    pub(super) fn open_stream(
        account: &Arc<Self>,
        names: usize,
        limits: &LimitsConfig,
    ) -> Result<Held, Exceeded> {
        // What is taken is given back by `held`, also where the second limit refuses.
        let mut held = Held { account: account.clone(), streams: 0, names: 0, starts: 0 };
        take(&account.streams, 1, limits.concurrent_streams, "streams at a time")?;
        held.streams = 1;
        take(&account.names, names, limits.watched_names, "names on its streams")?;
        held.names = names;
        Ok(held)
    }

    pub(super) fn begin_start(account: &Arc<Self>, limits: &LimitsConfig) -> Result<Held, Exceeded> {
        take(&account.starts, 1, limits.starts_in_flight, "starts at a time")?;
        Ok(Held { account: account.clone(), streams: 0, names: 0, starts: 1 })
    }
}

fn take(used: &AtomicUsize, more: usize, limit: Option<usize>, what: &str) -> Result<(), Exceeded> {
    let limit = limit.unwrap_or(usize::MAX);
    let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(more).filter(|sum| *sum <= limit)
    });
    match taken {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(Exceeded { message: format!("this caller may have {limit} {what}"), retry_after: None })
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.streams.fetch_sub(self.streams, Ordering::Relaxed);
        self.account.names.fetch_sub(self.names, Ordering::Relaxed);
        self.account.starts.fetch_sub(self.starts, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(streams: usize, names: usize) -> LimitsConfig {
        LimitsConfig {
            concurrent_streams: Some(streams),
            watched_names: Some(names),
            starts_in_flight: Some(1),
            ..LimitsConfig::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_second_of_it_through_at_once_and_then_its_pace() {
        let account = Account::new();
        let admitted = || (0..100).take_while(|_| account.admit(10.0).is_ok()).count();
        assert_eq!(admitted(), 10);
        let wait = account.admit(10.0).unwrap_err().retry_after.unwrap();
        assert_eq!(wait, Duration::from_millis(100));
        tokio::time::advance(wait).await;
        assert_eq!(admitted(), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second_lets_one_through() {
        let account = Account::new();
        assert!(account.admit(0.1).is_ok());
        assert!(account.admit(0.1).unwrap_err().retry_after.unwrap() > Duration::from_secs(9));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(account.admit(0.1).is_ok());
    }

    #[tokio::test]
    async fn what_is_held_counts_and_what_is_dropped_does_not() {
        let account = Arc::new(Account::new());
        let limits = limits(2, 10);
        let first = Account::open_stream(&account, 6, &limits).unwrap();
        assert!(Account::open_stream(&account, 5, &limits).unwrap_err().message.contains("10 names"));
        let second = Account::open_stream(&account, 4, &limits).unwrap();
        assert!(Account::open_stream(&account, 0, &limits).unwrap_err().message.contains("2 streams"));
        drop(first);
        assert!(Account::open_stream(&account, 6, &limits).is_ok());
        drop(second);
        let start = Account::begin_start(&account, &limits).unwrap();
        assert!(Account::begin_start(&account, &limits).is_err());
        drop(start);
        assert!(Account::begin_start(&account, &limits).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_nobody_uses_do_not_gather() {
        let accounts = Accounts::default();
        let kept = accounts.of(&Arc::from("kept"));
        let _stream = Account::open_stream(&kept, 1, &LimitsConfig::default()).unwrap();
        for number in 0..10 * MANY {
            let _ = accounts.of(&Arc::from(format!("passing {number}")));
        }
        assert!(accounts.0.lock().unwrap().len() <= MANY + 1);
        assert!(Arc::ptr_eq(&kept, &accounts.of(&Arc::from("kept"))));
    }
}
