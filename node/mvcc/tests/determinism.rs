//! Equal logs make equal stores: the answers are the same and the images are equal byte for byte, no matter when a
//! member removes compacted versions or restarts from an image.

#[path = "model/commands.rs"]
#[allow(dead_code, reason = "the model test uses the rest")]
mod commands;

use mvcc::image::{self, ImageFormat};
use mvcc::{Batch, Store};
use proptest::prelude::*;

fn image_of(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::write(&store.view(), 7, ImageFormat::V2, &mut bytes).expect("memory can be written");
    bytes
}

fn load(bytes: &[u8]) -> Store {
    image::read(&mut &bytes[..]).expect("an image just written is sound").store
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Five members apply the same log. The first removes compacted versions immediately, the second in small slices,
    /// and the third never. The fourth restarts from images, and the fifth decodes its log from bytes.
    #[test]
    fn members_with_the_same_log_hold_the_same_bytes(
        log in prop::collection::vec((0..1000u64, commands::command()), 0..60),
        reload_every in 1..10usize,
    ) {
        let commands = log.iter().map(|(_, command)| (1, command.clone())).collect();
        let sent = Batch { commands };
        let received = Batch::decode(sent.encode()).expect("a batch just encoded decodes");
        prop_assert_eq!(&received, &sent);

        let mut members: [Store; 5] = std::array::from_fn(|_| Store::new());
        for (number, (time_ms, command)) in log.iter().enumerate() {
            let [at_once, in_slices, never, restarting, receiving] = &mut members;
            let outcome = never.apply(*time_ms, command);
            for member in [&mut *at_once, in_slices, restarting] {
                prop_assert_eq!(&member.apply(*time_ms, command), &outcome);
            }
            prop_assert_eq!(&receiving.apply(*time_ms, &received.commands[number].1), &outcome);
            at_once.compact_slice(usize::MAX);
            in_slices.compact_slice(1);
            if number % reload_every == 0 {
                *restarting = load(&image_of(restarting));
            }
        }
        let image = image_of(&members[0]);
        let hash = members[0].view().hash_kv(0).expect("the newest revision can be hashed");
        for member in &members {
            prop_assert_eq!(image_of(member), &image[..]);
            prop_assert_eq!(member.view().hash_kv(0).expect("the newest revision can be hashed"), hash);
        }
        prop_assert_eq!(image_of(&load(&image)), image);
    }
}
