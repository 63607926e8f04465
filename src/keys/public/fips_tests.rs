//! Public keys in a build with the FIPS module: ML-KEM and RSA by the module, and no X-Wing.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::kem::{Algorithm, Ciphertext, DecapsulationKey, ML_KEM_768, ML_KEM_1024};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};

use super::*;
use crate::error::Kind;
use crate::format::{DataKeyId, Pairs, Sharing, Suite};
use crate::keys::KeySealer;

const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn binding() -> Binding {
    let (context, labels) = (Pairs::default(), Pairs::default());
    let data_key_id = DataKeyId([1; 16]);
    Binding { suite: Suite::Aes256Gcm, data_key_id, sharing: Sharing::Exclusive, context, labels }
}

fn opens(recipient: &Recipient, private: impl Fn(&[u8]) -> Vec<u8>) {
    let (data_key, slot) = recipient.generate(&binding()).unwrap();
    let again = recipient.wrap(&data_key, &binding()).unwrap();
    assert_ne!(encapsulation(&slot), encapsulation(&again), "each wrapping has an encapsulation of its own");
    for slot in [slot, again] {
        let secret = DataKey::from_slice(&private(encapsulation(&slot).unwrap())).unwrap();
        assert_eq!(finish(&slot, &secret, &binding()).unwrap().expose(), data_key.expose());
    }
}

#[test]
fn what_is_sealed_to_ml_kem_opens_with_the_private_key() {
    let of = |algorithm: &'static Algorithm, spec: PublicKeySpec| {
        let private = DecapsulationKey::generate(algorithm).unwrap();
        let public = private.encapsulation_key().unwrap();
        let (head, _, tail) = spec.encoding();
        let encoded = [head, public.key_bytes().unwrap().as_ref(), tail].concat();
        opens(&Recipient::from_kms(ARN, &encoded).unwrap(), |sent| {
            private.decapsulate(Ciphertext::from(sent)).unwrap().as_ref().to_vec()
        });
    };
    of(&ML_KEM_768, PublicKeySpec::MlKem768);
    of(&ML_KEM_1024, PublicKeySpec::MlKem1024);
}

#[test]
fn what_is_sealed_to_rsa_opens_with_the_private_key() {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
    let public = private.public_key().as_der().unwrap();
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    opens(&Recipient::from_kms(ARN, public.as_ref()).unwrap(), |sent| {
        let mut opened = vec![0; private.min_output_size()];
        private.decrypt(&OAEP_SHA256_MGF1SHA256, sent, &mut opened, None).unwrap().to_vec()
    });
}

#[test]
fn x_wing_is_refused() {
    let generated = Identity::generate().err().unwrap();
    // The vectors' identity: its text is valid.
    let text = b"waxseal-identity-v1:x-wing:0707070707070707070707070707070707070707070707070707070707070707:";
    let check = crate::keys::lines::hex(&crate::digest::Sha256::digest(&text[..text.len() - 1])[..4]);
    let parsed = Identity::parse(&[&text[..], check.as_bytes()].concat()).err().unwrap();
    assert_eq!((generated.kind(), parsed.kind()), (Kind::Usage, Kind::NoKey), "{generated}, {parsed}");
    for error in [generated, parsed] {
        assert!(error.to_string().contains("X-Wing"), "{error}");
        assert!(error.to_string().contains("this build uses only what the FIPS module has"), "{error}");
    }
    let known = PublicKeySpec::of(SlotKind::X_WING, &[1; 1216]);
    assert!(known.unwrap_err().contains("refused"));
}
