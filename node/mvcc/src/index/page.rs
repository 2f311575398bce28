//! Owns the keys of a node, packed into one shared page. Does not own the meaning of a key.

use std::fmt;
use std::sync::Arc;

/// Keys in ascending order, packed into one allocation, which copies of a node share. Every change makes a new page.
///
/// ```text
/// page := for each key the offset of its end, u32 LE, from the start of the first key; then all keys, concatenated
/// ```
#[derive(Clone)]
pub(super) struct KeyPage {
    count: usize,
    page: Arc<[u8]>,
}

const END_BYTES: usize = 4;
/// Number of bytes above which a page is split, unless the page holds only one key.
const BULKY_BYTES: usize = 16 << 10;

impl Default for KeyPage {
    fn default() -> Self {
        KeyPage { count: 0, page: Arc::new([]) }
    }
}

impl fmt::Debug for KeyPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.count).map(|at| self.get(at).escape_ascii().to_string())).finish()
    }
}

impl KeyPage {
    /// Offset at which the key before `at` ends, relative to the start of the first key.
    fn end_before(&self, at: usize) -> usize {
        if at == 0 {
            return 0;
        }
        let end = &self.page[(at - 1) * END_BYTES..at * END_BYTES];
        u32::from_le_bytes(end.try_into().expect("4 bytes")) as usize
    }

    /// The bytes of the keys `from..to`.
    fn content(&self, from: usize, to: usize) -> &[u8] {
        let start = self.count * END_BYTES;
        &self.page[start + self.end_before(from)..start + self.end_before(to)]
    }

    /// Builds a page from the first `left.1` keys of the page `left.0`, then the key `middle` if it is given, then the
    /// keys of the page `right.0` that start at position `right.1`.
    fn build(left: (&KeyPage, usize), middle: Option<&[u8]>, right: (&KeyPage, usize)) -> KeyPage {
        let (left_page, left_count) = left;
        let (right_page, right_from) = right;
        debug_assert!(left_count <= left_page.count, "the left part is inside its page");
        debug_assert!(right_from <= right_page.count, "the right part is inside its page");
        let count = left_count + usize::from(middle.is_some()) + right_page.count - right_from;
        let contents = [
            left_page.content(0, left_count),
            middle.unwrap_or_default(),
            right_page.content(right_from, right_page.count),
        ];
        let size = count * END_BYTES + contents.iter().map(|content| content.len()).sum::<usize>();
        let mut page: Arc<[u8]> = std::iter::repeat_n(0, size).collect();
        let bytes = Arc::get_mut(&mut page).expect("a page that was just made is not shared");

        let (ends, mut rest) = bytes.split_at_mut(count * END_BYTES);
        let (left_ends, ends) = ends.split_at_mut(left_count * END_BYTES);
        left_ends.copy_from_slice(&left_page.page[..left_count * END_BYTES]);
        let middle_end = contents[0].len() + contents[1].len();
        let shift = middle_end.wrapping_sub(right_page.end_before(right_from));
        let right_ends = (right_from..right_page.count).map(|at| right_page.end_before(at + 1).wrapping_add(shift));
        for (slot, end) in
            ends.chunks_exact_mut(END_BYTES).zip(middle.map(|_| middle_end).into_iter().chain(right_ends))
        {
            let end = u32::try_from(end).expect("the service limits requests, and so keys, to megabytes");
            slot.copy_from_slice(&end.to_le_bytes());
        }
        for content in contents {
            let (here, after) = rest.split_at_mut(content.len());
            here.copy_from_slice(content);
            rest = after;
        }
        assert!(rest.is_empty(), "a page has the size of its keys");
        KeyPage { count, page }
    }
}

impl KeyPage {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        self.content(at, at + 1)
    }

    /// Returns `Ok` with the key's position, or `Err` with the position at which the key would be inserted.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.search_from(0, key)
    }

    /// Like [`Self::search`], but searches only the keys at and after position `first`.
    pub(super) fn search_from(&self, first: usize, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (first, self.count);
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        *self = KeyPage::build((self, at), Some(key), (self, at));
    }

    pub(super) fn remove(&mut self, at: usize) {
        *self = KeyPage::build((self, at), None, (self, at + 1));
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let right = KeyPage::build((self, 0), None, (self, at));
        *self = KeyPage::build((self, at), None, (self, self.count));
        right
    }

    pub(super) fn append(&mut self, right: &Self) {
        *self = KeyPage::build((self, self.count), None, (right, 0));
    }

    /// Appends the keys of the page `right`, but replaces the first of these keys by `first`.
    pub(super) fn append_bounded(&mut self, right: &Self, first: &[u8]) {
        *self = KeyPage::build((self, self.count), Some(first), (right, 1));
    }

    /// Number of keys below the given key.
    pub(super) fn position(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(at) | Err(at) => at,
        }
    }

    /// Returns whether the keys are so large that a node should hold fewer keys.
    pub(super) fn are_bulky(&self) -> bool {
        self.page.len() > BULKY_BYTES
    }
}
