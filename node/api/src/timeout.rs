//! Limits on the time of a call. Owns the header `grpc-timeout`, and the slowest pace of a message that arrives or is
//! sent. Does not own the limits of the engine, such as the one of a commit.

use std::pin::{Pin, pin};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// Time within which the next [`STEP`] bytes of a message must move, or what is left of it.
pub(super) const STEP_TIME: Duration = Duration::from_secs(10);
/// Number of bytes, see [`STEP_TIME`].
pub(super) const STEP: usize = 64 << 10;

/// Returns the time that the client gives the call (`grpc-timeout`: up to eight digits and a unit); `None` if it has as
/// long as it takes.
///
/// # Errors
/// Returns an error if the header is malformed. The text is that of grpc-go.
pub(super) fn given(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(header) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = String::from_utf8_lossy(header.as_bytes());
    let time = parse(&text).map_err(|reason| Status::internal(format!("malformed grpc-timeout: {reason}")))?;
    Ok(Some(time))
}

/// Why a timeout is malformed. The texts are those of grpc-go.
#[derive(Debug, thiserror::Error)]
enum Malformed<'a> {
    #[error("transport: timeout string is too short: {0:?}")]
    Short(&'a str),
    #[error("transport: timeout string is too long: {0:?}")]
    Long(&'a str),
    #[error("transport: timeout unit is not recognized: {0:?}")]
    Unit(&'a str),
    /// grpc-go shows the error of Go's `strconv`.
    #[error("strconv.ParseUint: parsing {0:?}: invalid syntax")]
    Number(&'a str),
}

fn parse(text: &str) -> Result<Duration, Malformed<'_>> {
    match text.len() {
        ..2 => return Err(Malformed::Short(text)),
        2..=9 => {}
        _ => return Err(Malformed::Long(text)),
    }
    let (digits, unit) = text.split_at_checked(text.len() - 1).ok_or(Malformed::Unit(text))?;
    let of: fn(u64) -> Duration = match unit {
        "H" => |number| Duration::from_secs(number * 3_600),
        "M" => |number| Duration::from_secs(number * 60),
        "S" => Duration::from_secs,
        "m" => Duration::from_millis,
        "u" => Duration::from_micros,
        "n" => Duration::from_nanos,
        _ => return Err(Malformed::Unit(text)),
    };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number).ok_or(Malformed::Number(digits))?;
    Ok(of(number))
}

/// Runs a call for at most the time that its client gives it. A write that was proposed meanwhile may still be applied. The
/// call is borrowed, because a function that takes a future keeps space for it twice.
///
/// # Errors
/// Returns the error of the call, or that the time is over.
pub(super) async fn within<T>(
    given: Option<Duration>,
    call: Pin<&mut impl Future<Output = Result<T, Status>>>,
) -> Result<T, Status> {
    let Some(given) = given else { return call.await };
    let done = tokio::time::timeout(given, call).await;
    done.unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")))
}

/// A message moved too slowly.
#[derive(Debug)]
pub(super) struct TooSlow;

/// The pace of one message that arrives or is sent. A client that stops in the middle of it would otherwise hold memory
/// without end.
pub(super) struct Pace {
    deadline: Instant,
    in_step: usize,
}

impl Pace {
    /// The pace of a message that begins now.
    pub(super) fn begin() -> Self {
        Self { deadline: Instant::now() + STEP_TIME, in_step: 0 }
    }

    /// Waits for the next piece.
    ///
    /// # Errors
    /// Returns an error if the client has been too slow.
    pub(super) async fn wait<T>(&self, piece: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut piece = pin!(piece);
        // Most pieces are there already. They need no timer.
        if let std::task::Poll::Ready(piece) = futures::poll!(&mut piece) {
            return Ok(piece);
        }
        timeout_at(self.deadline, piece).await.map_err(|_| TooSlow)
    }

    /// Notes that a piece moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.in_step += bytes;
        if self.in_step >= STEP {
            (self.in_step, self.deadline) = (0, Instant::now() + STEP_TIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use http::HeaderValue;
    use tonic::Code;

    use super::*;

    #[test]
    fn the_header_is_read_as_the_protocol_says() {
        let read =
            |text| given(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), HeaderValue::from_static(text))]));
        let cases = [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ];
        for (text, time) in cases {
            assert_eq!(read(text).unwrap(), Some(time), "{text}");
        }
        // The expected texts are those of grpc-go 1.84.
        for (text, reason) in [
            ("", r#"transport: timeout string is too short: """#),
            ("S", r#"transport: timeout string is too short: "S""#),
            ("tomorrow", r#"transport: timeout unit is not recognized: "tomorrow""#),
            ("10", r#"transport: timeout unit is not recognized: "10""#),
            ("1s", r#"transport: timeout unit is not recognized: "1s""#),
            ("1S ", r#"transport: timeout unit is not recognized: "1S ""#),
            ("-1S", r#"strconv.ParseUint: parsing "-1": invalid syntax"#),
            ("+1S", r#"strconv.ParseUint: parsing "+1": invalid syntax"#),
            ("1.5S", r#"strconv.ParseUint: parsing "1.5": invalid syntax"#),
            ("999999999S", r#"transport: timeout string is too long: "999999999S""#),
        ] {
            let refused = read(text).unwrap_err();
            let expected = format!("malformed grpc-timeout: {reason}");
            assert_eq!((refused.code(), refused.message()), (Code::Internal, expected.as_str()));
        }
        assert_eq!(given(&HeaderMap::new()).unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_when_its_time_is_over() {
        let given = Some(Duration::from_millis(5));
        let status = within(given, pin!(pending::<Result<(), Status>>())).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(within(given, pin!(ready(Ok(7)))).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stops_is_given_up() {
        let (pace, begun) = (Pace::begin(), Instant::now());
        pace.wait(pending::<()>()).await.unwrap_err();
        assert!((STEP_TIME..STEP_TIME * 2).contains(&begun.elapsed()));
        assert_eq!(pace.wait(ready(7)).await.unwrap(), 7, "what is there is taken");
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_gets_its_own_time() {
        let (mut pace, begun) = (Pace::begin(), Instant::now());
        pace.moved(STEP - 1);
        tokio::time::advance(STEP_TIME / 2).await;
        pace.moved(1);
        pace.moved(STEP - 1);
        pace.wait(pending::<()>()).await.unwrap_err();
        assert!((STEP_TIME * 3 / 2..STEP_TIME * 2).contains(&begun.elapsed()), "the second step is not complete");
    }
}
