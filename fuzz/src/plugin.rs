//! The calls of Docker's Engine.

use pontoon::plugin::protocol::Call;

/// Input: a path such as `/NetworkDriver.Join`, a line feed, the body. Whatever comes is read or refused with one sentence, and what is read is
/// read the same way again when its JSON is written in another way.
pub fn plugin(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let path = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    match Call::read(&path, body) {
        Ok(call) => {
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return };
            let again = Call::read(&path, value.to_string().as_bytes());
            // A key that comes twice is refused, and comes once when it is written anew.
            assert_eq!(again, Ok(call), "{value}");
        }
        Err(refusal) => {
            let sentence = refusal.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 4096, "{} bytes", sentence.len());
        }
    }
}
