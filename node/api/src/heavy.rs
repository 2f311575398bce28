//! Reads that may occupy a processor for long. Owns which reads those are, and their way: a turn, a measuring pass,
//! memory for the answer, and then the read itself. Does not own the threads that run them (`engine`), nor what is read
//! (`mvcc`).
//!
//! A light read runs on the thread of its connection, which takes less than a millisecond. The estimate of its cost can
//! be wrong, so a meter stops it, and it begins again as a heavy one.

use std::sync::Arc;

use engine::published::Published;
use engine::read::executor::{Going, HeavyError, Turn};
use mvcc::{DeleteRange, HashResult, Measured, Meter, OpResult, Range, ReadFailure, ReadLimits, Response, Txn, View};
use tonic::{Code, Status};

use crate::admission::{Call, CallContext};
use crate::answer::framed;
use crate::framed::Framed;
use crate::header::Header;
use crate::status::Refusal;

/// Maximum cost of a light read ([`View::range_cost`]): about 1,000 keys with their versions.
const LIGHT_COST_MAX: u64 = 8 * 1_024;
/// Maximum number of keys or versions that a light read visits.
const LIGHT_VISITS_MAX: u64 = 4_096;
/// Maximum number of bytes that a light read copies, which are those of keys without their values.
const LIGHT_COPIED_MAX: u64 = 256 << 10;
/// Maximum size of a store that is hashed on the thread of a connection ([`View::size_bytes`]).
const LIGHT_HASHED_MAX: u64 = 256 << 10;
/// Maximum number of versions of an answer that is encoded on the thread of its connection.
const LIGHT_VERSIONS_MAX: usize = 1_024;
/// Cost of a transaction that names single keys only. Its answer needs no measuring.
const SINGLE_KEYS_COST_MAX: u64 = 8 * mvcc::MAX_TXN_OPS as u64;
/// Maximum number of bytes that a transaction may copy while it is applied.
const WRITE_COPIED_MAX: u64 = 64 << 20;

/// A read of the store.
pub(super) trait Read: Send + Sync + 'static {
    /// What is found.
    type Found: Send;

    /// Estimate of the cost, as [`View::range_cost`].
    fn cost(&self, view: &View) -> u64;
    /// Measures what would be found, without collecting it.
    fn measure(&self, view: &View, meter: &mut Meter<'_>) -> Result<(), ReadFailure>;
    /// Reads.
    fn run(&self, view: &View, meter: &mut Meter<'_>) -> Result<Self::Found, ReadFailure>;
    /// Encodes the answer. `header` has no revision.
    fn frame(&self, context: &CallContext, header: Header, found: &Self::Found) -> Result<Framed, Status>;
}

impl Read for Range {
    type Found = mvcc::RangeResult;

    fn cost(&self, view: &View) -> u64 {
        view.range_cost(self)
    }

    fn measure(&self, view: &View, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
        view.measure_range(self, meter)
    }

    fn run(&self, view: &View, meter: &mut Meter<'_>) -> Result<Self::Found, ReadFailure> {
        view.range_metered(self, meter)
    }

    fn frame(&self, _: &CallContext, header: Header, found: &Self::Found) -> Result<Framed, Status> {
        framed(&(header.at(found.revision), found))
    }
}

impl Read for Txn {
    type Found = (mvcc::Revision, mvcc::TxnResult);

    fn cost(&self, view: &View) -> u64 {
        view.txn_cost(self)
    }

    fn measure(&self, view: &View, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
        view.measure_txn(self, meter)
    }

    fn run(&self, view: &View, meter: &mut Meter<'_>) -> Result<Self::Found, ReadFailure> {
        view.txn_metered(self, meter).map(|result| (view.revision(), result))
    }

    fn frame(&self, context: &CallContext, header: Header, found: &Self::Found) -> Result<Framed, Status> {
        let (revision, result) = found;
        context.observer.transaction(result);
        framed(&(header.at(*revision), result))
    }
}

/// Reads, and encodes the answer.
///
/// # Errors
/// Returns why the read was refused. An answer that is too large is refused before it is collected.
pub(super) async fn read<R: Read>(
    context: &CallContext,
    call: &Call,
    header: Header,
    published: Arc<Published>,
    read: R,
) -> Result<Framed, Status> {
    let answer_bytes = call.answer_bytes_max();
    if read.cost(&published.view) <= LIGHT_COST_MAX {
        match read.run(&published.view, &mut Meter::new(light(answer_bytes), &|| true)) {
            Err(ReadFailure::TooHeavy) => {}
            found => return read.frame(context, header, &found.map_err(|failure| refused(failure, answer_bytes))?),
        }
    }
    let read = Arc::new(read);
    let measured = measured(context, Arc::clone(&published), Arc::clone(&read), answer_bytes, u64::MAX).await?;
    // A read that waits for memory has no turn, because other reads would wait with it.
    let held = call.reserve_answer(measured.memory_bytes()).await?;
    let turn = turn(context).await?;
    let (executor, context) = (Arc::clone(context.handle.heavy()), context.clone());
    let done = turn.run(move |going| {
        let limits = ReadLimits { answer_bytes, ..ReadLimits::NONE };
        let found = read.run(&published.view, &mut Meter::new(limits, &|| going.goes_on()));
        let framed = read.frame(&context, header, &found.map_err(|failure| refused(failure, answer_bytes))?)?;
        Ok(framed.holding(held, executor))
    });
    done.await.map_err(Refusal::from)?
}

/// Refuses a transaction that writes if its answer would be too large, or would take too much memory while the
/// transaction is applied. The content may change until then.
pub(super) async fn check_txn(
    context: &CallContext,
    call: &Call,
    published: Arc<Published>,
    txn: &Txn,
) -> Result<(), Status> {
    if published.view.txn_cost(txn) <= SINGLE_KEYS_COST_MAX {
        return Ok(());
    }
    check_answer(context, call, published, txn).await
}

/// Does the same as [`check_txn`] for a deletion that answers what it deletes.
pub(super) async fn check_deletion(
    context: &CallContext,
    call: &Call,
    published: Arc<Published>,
    deletion: &DeleteRange,
) -> Result<(), Status> {
    let deleted = Range { key: deletion.key.clone(), range_end: deletion.range_end.clone(), ..Range::default() };
    check_answer(context, call, published, &deleted).await
}

async fn check_answer<R: Read + Clone>(
    context: &CallContext,
    call: &Call,
    published: Arc<Published>,
    read: &R,
) -> Result<(), Status> {
    let answer_bytes = call.answer_bytes_max();
    if read.cost(&published.view) <= LIGHT_COST_MAX {
        let limits = ReadLimits { answer_bytes, visits: u64::MAX, copied_bytes: WRITE_COPIED_MAX };
        let mut meter = Meter::new(limits, &|| true);
        read.measure(&published.view, &mut meter).map_err(|failure| refused(failure, answer_bytes))
    } else {
        measured(context, published, Arc::new(read.clone()), answer_bytes, WRITE_COPIED_MAX).await.map(drop)
    }
}

/// Encodes the answer to a write. A large one may have millions of versions.
pub(super) async fn answer_write(context: &CallContext, header: Header, response: Response) -> Result<Framed, Status> {
    let frame = move |response: &Response| match response {
        Response::Put(result) => framed(&(header, result)),
        Response::DeleteRange(result) => framed(&(header, result)),
        Response::Txn(result) => framed(&(header, result)),
        Response::Compact | Response::Alarm(_) | Response::RaiseFeatureLevel => framed(&header),
    };
    if versions(&response) <= LIGHT_VERSIONS_MAX {
        return frame(&response);
    }
    // The write is done, so that its caller must not be told to try again.
    let turn = context.handle.heavy().turn().await.map_err(|_| Refusal::Timeout)?;
    let executor = Arc::clone(context.handle.heavy());
    let done = turn.run(move |_| Ok(frame(&response)?.disposed_by(executor)));
    done.await.map_err(|_| Refusal::Timeout)?
}

fn versions(response: &Response) -> usize {
    fn of(result: &OpResult) -> usize {
        match result {
            OpResult::Range(result) => result.kvs.len(),
            OpResult::Put(result) => usize::from(result.prev_kv.is_some()),
            OpResult::DeleteRange(result) => result.prev_kvs.len(),
            OpResult::Txn(result) => result.responses.iter().map(of).sum(),
        }
    }
    match response {
        Response::DeleteRange(result) => result.prev_kvs.len(),
        Response::Txn(result) => result.responses.iter().map(of).sum(),
        Response::Put(_) | Response::Compact | Response::Alarm(_) | Response::RaiseFeatureLevel => 1,
    }
}

/// Computes the hash of the keyspace up to a revision; 0 means the newest revision.
///
/// # Errors
/// Returns why the read was refused.
pub(super) async fn hash(context: &CallContext, revision: i64) -> Result<HashResult, Status> {
    let published = context.handle.published();
    let is_light = published.view.size_bytes() <= LIGHT_HASHED_MAX;
    run(context, is_light, move |meter| published.view.hash_kv_metered(revision, meter)).await
}

/// Runs a short read on the present thread if it may be a light one, and as a heavy one otherwise. It allocates little.
pub(super) async fn run<T: Send + 'static>(
    context: &CallContext,
    is_light: bool,
    read: impl Fn(&mut Meter<'_>) -> Result<T, ReadFailure> + Send + 'static,
) -> Result<T, Status> {
    if is_light {
        match read(&mut Meter::new(light(u64::MAX), &|| true)) {
            Err(ReadFailure::TooHeavy) => {}
            found => return found.map_err(|failure| refused(failure, u64::MAX)),
        }
    }
    let turn = turn(context).await?;
    let done = turn.run(move |going| read(&mut Meter::new(ReadLimits::NONE, &|| going.goes_on())));
    done.await.map_err(Refusal::from)?.map_err(|failure| refused(failure, u64::MAX))
}

async fn turn(context: &CallContext) -> Result<Turn<'_>, Refusal> {
    Ok(context.handle.heavy().turn().await?)
}

async fn measured<R: Read>(
    context: &CallContext,
    published: Arc<Published>,
    read: Arc<R>,
    answer_bytes: u64,
    copied_bytes: u64,
) -> Result<Measured, Status> {
    let turn = turn(context).await?;
    let measured = turn.run(move |going: &Going| {
        let goes_on = || going.goes_on();
        let mut meter = Meter::new(ReadLimits { answer_bytes, copied_bytes, visits: u64::MAX }, &goes_on);
        read.measure(&published.view, &mut meter).map(|()| meter.measured())
    });
    measured.await.map_err(Refusal::from)?.map_err(|failure| refused(failure, answer_bytes))
}

fn light(answer_bytes: u64) -> ReadLimits {
    ReadLimits { answer_bytes, visits: LIGHT_VISITS_MAX, copied_bytes: LIGHT_COPIED_MAX }
}

fn refused(failure: ReadFailure, answer_bytes_max: u64) -> Status {
    match failure {
        ReadFailure::Refused(error) => Refusal::from(error).into(),
        // The text is that of grpc-go, which has measured the whole answer. Here it is as far as it was measured.
        ReadFailure::TooLarge { bytes } => Status::new(
            Code::ResourceExhausted,
            format!("grpc: trying to send message larger than max ({bytes} vs. {answer_bytes_max})"),
        ),
        ReadFailure::TooHeavy => Refusal::TxnTooExpensive.into(),
        ReadFailure::Abandoned => Refusal::Stopped.into(),
    }
}

impl From<HeavyError> for Refusal {
    fn from(error: HeavyError) -> Self {
        match error {
            HeavyError::Overloaded => Refusal::TooManyRequests,
            HeavyError::Stopping => Refusal::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use engine::handle::Handle;
    use engine::observer::Observer;
    use engine::shared::Shared;
    use engine::status::{Phase, Status as MemberStatus};
    use mvcc::{Command, Put, Store, TxnResult};
    use raft::{Index, MemberId, Term};
    use tokio::sync::mpsc;

    use super::*;
    use crate::admission::Settings;
    use crate::limits::Limits;
    use crate::metadata::Metadata;
    use crate::method::Method;
    use crate::observer::{CallObserver, Request, Success};
    use crate::transport::MessageMemory;

    #[derive(Debug)]
    struct Nothing;

    impl Observer for Nothing {}

    impl CallObserver for Nothing {
        fn proposal_began(&self) {}
        fn proposal_ended(&self) {}
        fn proposal_failed(&self) {}
        fn read_confirmed(&self, _: Duration) {}
        fn read_failed(&self) {}
        fn range_read(&self) {}
        fn transaction(&self, _: &TxnResult) {}
        fn request(&self, _: Request, _: Success, _: Duration) {}
        fn call(&self, _: Method, _: Code) {}
        fn health_checked(&self, _: Success) {}
    }

    /// A service with one thread for heavy reads, of which the test knows.
    struct Service {
        context: CallContext,
        executor: ThreadId,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Service {
        fn start() -> Self {
            let status = MemberStatus::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
            let handle = Handle::new(Shared::new(status, None, 1, mpsc::channel(1).0, Box::new(Nothing)));
            let heavy = Arc::clone(handle.heavy());
            let thread = thread::spawn(move || heavy.run());
            let settings = Settings { limits: Limits::default(), quota_bytes: 1 << 30 };
            let context = CallContext { handle, settings, observer: Arc::new(Nothing) };
            Self { context, executor: thread.thread().id(), thread: Some(thread) }
        }

        async fn read(&self, read: impl Read, store: &Store) -> Result<Framed, Status> {
            super::read(&self.context, &call(), Header::default(), published(store), read).await
        }
    }

    /// A call of a port that has memory for 1 MiB of answers.
    fn call() -> Call {
        let memory = MessageMemory::of_port(1 << 20);
        Call { metadata: Metadata::default(), message: bytes::Bytes::new(), memory }
    }

    fn published(store: &Store) -> Arc<Published> {
        Arc::new(Published { view: store.view(), applied: Index(1), term: Term(1), time_ms: 0 })
    }

    impl Drop for Service {
        fn drop(&mut self) {
            self.context.handle.heavy().close();
            if let Some(thread) = self.thread.take() {
                thread.join().expect("it ends");
            }
        }
    }

    /// A read that notes where its parts run.
    #[derive(Clone)]
    struct Noted<R> {
        read: R,
        cost: Option<u64>,
        ran: Arc<Mutex<Vec<(&'static str, ThreadId)>>>,
    }

    impl<R> Noted<R> {
        fn new(read: R, cost: Option<u64>) -> Self {
            Self { read, cost, ran: Arc::default() }
        }

        fn note(&self, part: &'static str) {
            self.ran.lock().expect("no test panics here").push((part, thread::current().id()));
        }

        fn taken(&self) -> Vec<(&'static str, ThreadId)> {
            std::mem::take(&mut *self.ran.lock().expect("no test panics here"))
        }
    }

    impl<R: Read> Read for Noted<R> {
        type Found = R::Found;

        fn cost(&self, view: &View) -> u64 {
            self.cost.unwrap_or_else(|| self.read.cost(view))
        }

        fn measure(&self, view: &View, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
            self.note("measure");
            self.read.measure(view, meter)
        }

        fn run(&self, view: &View, meter: &mut Meter<'_>) -> Result<Self::Found, ReadFailure> {
            self.note("run");
            self.read.run(view, meter)
        }

        fn frame(&self, context: &CallContext, header: Header, found: &Self::Found) -> Result<Framed, Status> {
            self.note("frame");
            self.read.frame(context, header, found)
        }
    }

    fn store(keys: u64, value_bytes: usize) -> Store {
        let mut store = Store::new();
        for number in 0..keys {
            let (key, value) = (format!("k{number:05}").into(), vec![7; value_bytes].into());
            store.apply(1, &Command::Put(Put { key, value, ..Put::default() })).expect("a plain put succeeds");
        }
        store
    }

    fn all() -> Range {
        Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
    }

    #[tokio::test]
    async fn heavy_reads_never_run_on_the_thread_of_their_caller() {
        let (service, own) = (Service::start(), thread::current().id());
        let on = |thread| vec![("measure", thread), ("run", thread), ("frame", thread)];
        let large = store(LIGHT_VISITS_MAX + 1, 1);
        let by_value = Range {
            sort_order: mvcc::SortOrder::Ascend,
            sort_target: mvcc::SortTarget::Value,
            range_end: "k00010".into(),
            ..all()
        };
        for heavy in [all(), by_value, Range { revision: 9, ..all() }] {
            let read = Noted::new(heavy.clone(), None);
            service.read(read.clone(), &large).await.expect("it is answered");
            assert_eq!(read.taken(), on(service.executor), "{heavy:?}");
        }
        let txn = Txn { success: vec![mvcc::Op::Range(all())], ..Txn::default() };
        let read = Noted::new(txn, None);
        service.read(read.clone(), &large).await.expect("it is answered");
        assert_eq!(read.taken(), on(service.executor));

        for light in [Range { limit: 900, ..all() }, Range { count_only: true, ..all() }] {
            let read = Noted::new(light.clone(), None);
            service.read(read.clone(), &large).await.expect("it is answered");
            assert_eq!(read.taken(), [("run", own), ("frame", own)], "{light:?}");
        }
        let wrong = Noted::new(all(), Some(1));
        service.read(wrong.clone(), &large).await.expect("it is answered");
        assert_eq!(wrong.taken(), [vec![("run", own)], on(service.executor)].concat(), "its estimate was wrong");
    }

    /// An answer is measured before anything is collected for it. The port of this test has memory for 1 MiB.
    #[tokio::test]
    async fn an_answer_that_is_too_large_is_refused_before_it_is_collected() {
        let (service, store) = (Service::start(), store(20, 10_000));
        let read = Noted::new(Txn { success: vec![mvcc::Op::Range(all()); 128], ..Txn::default() }, None);
        let refused = service.read(read.clone(), &store).await.err().expect("it has 25 MB");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().starts_with("grpc: trying to send message larger than max (10"), "{refused}");
        assert!(refused.message().ends_with(" vs. 1048576)"), "{refused}");
        assert_eq!(read.taken(), [("measure", service.executor)]);
        service.read(all(), &store).await.expect("one range fits");
    }

    /// Otherwise it would be done, and its client would hear nothing of that.
    #[tokio::test]
    async fn a_deletion_whose_answer_is_too_large_is_refused() {
        let service = Service::start();
        let deletion = DeleteRange { key: "k".into(), range_end: "l".into(), prev_kv: true };
        for (keys, value_bytes, fits) in
            [(20, 10_000, true), (200, 10_000, false), (5_000, 1, true), (5_000, 1_000, false)]
        {
            let published = published(&store(keys, value_bytes));
            let checked = check_deletion(&service.context, &call(), published, &deletion).await;
            let code = checked.err().map(|refused| refused.code());
            assert_eq!(code, (!fits).then_some(Code::ResourceExhausted), "{keys} keys of {value_bytes} bytes");
        }
    }

    /// The answer refers to the versions, and holds its memory until it was sent.
    #[tokio::test]
    async fn a_heavy_answer_equals_a_light_one_and_has_its_memory() {
        let (service, store) = (Service::start(), store(4_000, 100));
        for range in [all(), Range { keys_only: true, ..all() }, Range { limit: 1_500, revision: 1_900, ..all() }] {
            let light = Noted::new(range.clone(), Some(0));
            let light = service.read(light, &store).await.expect("it is answered");
            let heavy = Noted::new(range.clone(), Some(u64::MAX));
            let heavy = service.read(heavy, &store).await.expect("it is answered");
            // The memory of an answer that was encoded at once is reserved when it is sent.
            let is_pinned = range == all();
            assert_eq!((heavy.has_memory(), matches!(heavy, Framed::Pinned(_))), (is_pinned, is_pinned), "{range:?}");
            assert!(heavy.whole() == light.whole(), "{range:?}");
        }
    }
}
