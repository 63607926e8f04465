//! The program and the keys of AWS KMS: recipient files, materials, and a key's life, against the small KMS.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "cli_support/cloud.rs"]
mod cloud;
mod support;

use cli_support::Ran;
use cloud::Cloud;
use serde_json::{Value, json};
use support::{ACCOUNT, Fault, REGION};
use waxseal::keys::Recipient;

/// The materials that `key show` lists: id, state, and whether the material is imported.
fn materials(cloud: &Cloud, key: &str) -> Vec<(String, String, Option<bool>)> {
    let shown = cloud.json(&["key", "show", "--json", key]);
    let all = shown["kms_key"]["materials"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.iter().map(|one| (text(&one["id"]), text(&one["state"]), one["imported"].as_bool())).collect()
}

/// Seals with a recipient file only, like a host without credentials.
fn seal(cloud: &Cloud, recipient: &str, name: &str, content: &[u8]) {
    cloud.place.write("content", content);
    cloud.proxy.take();
    let mut command =
        cloud.place.command(&["encrypt", "-f", "-k", &format!("file:{recipient}"), "-o", name, "content"]);
    support::clear_aws_environment(&mut command);
    let ran: Ran = command.output().unwrap().into();
    assert_eq!((ran.code, cloud.proxy.take()), (Some(0), Vec::new()), "{}", ran.stderr);
}

/// A host can make backups but not read them. The test goes from the creation of the key to the restore.
#[test]
fn a_host_seals_offline_and_kms_opens() {
    let cloud = Cloud::small();
    for (spec, kind, call) in [
        ("ML_KEM_768", "aws-kms-ml-kem", "Decapsulate"),
        ("ML_KEM_1024", "aws-kms-ml-kem", "Decapsulate"),
        ("RSA_3072", "aws-kms-rsa", "Decrypt"),
    ] {
        let alias = format!("alias/{spec}");
        let arn = cloud.ok(&["key", "create", "--spec", spec, "--alias", &alias]).text().trim().to_owned();
        let shown = cloud.ok(&["key", "show", &alias]).text();
        assert!(shown.contains("waxseal key public") && shown.contains(spec), "{shown}");
        let file = format!("{spec}.pub");
        cloud.proxy.take();
        let told = cloud.json(&["key", "public", "--json", &alias, "-o", &file]);
        assert_eq!(cloud.proxy.take(), ["GetPublicKey"]);
        assert_eq!((&told["key"], &told["output"], &told["outcome"]), (&json!(arn), &json!(file), &json!("made")));
        assert_eq!((&told["recipient"]["kind"], &told["recipient"]["spec"]), (&json!(kind), &json!(spec)));
        assert_eq!(cloud.place.mode(&file), 0o644);

        let sealed = format!("{spec}.wax");
        seal(&cloud, &file, &sealed, b"content");
        assert!(cloud.proxy.take().is_empty());
        for named in [&["-k", arn.as_str()][..], &["-k", &alias]] {
            let ran = cloud.ok(&[&["decrypt", "-o", "-"], named, &[&sealed]].concat());
            assert_eq!((ran.stdout.as_slice(), cloud.proxy.take()), (&b"content"[..], vec![call.to_owned()]));
        }
        let told = cloud.json(&["verify", "--json", &sealed]);
        assert_eq!((&told["ok"], &told["key"]), (&json!(true), &json!(arn)), "{told}");
        assert_eq!(cloud.proxy.take(), ["GetCallerIdentity", call]);
    }
    cloud.server().conforms();
}

#[test]
fn each_failure_has_its_exit_code() {
    let cloud = Cloud::small();
    for (spec, call) in [("ML_KEM_768", "Decapsulate"), ("RSA_3072", "Decrypt")] {
        let alias = format!("alias/{spec}");
        let arn = cloud.ok(&["key", "create", "--spec", spec, "--alias", &alias]).text().trim().to_owned();
        let other = cloud.ok(&["key", "create", "--spec", spec, "--alias", &format!("{alias}-2")]).text();
        cloud.ok(&["key", "public", &arn, "-o", spec]);
        seal(&cloud, spec, "in.wax", b"content");
        let verify = |named: &str| cloud.run(&["verify", "-k", named, "in.wax"]);
        for (code, exit) in [
            ("InvalidCiphertextException", 4),
            ("InvalidKeyUsageException", 5),
            ("DisabledException", 5),
            ("NotFoundException", 5),
            ("AccessDeniedException", 5),
            ("ValidationException", 5),
        ] {
            cloud.proxy.fail_on(call, Fault::refusal(code, "no"));
            let ran = verify(&arn);
            assert_eq!(ran.code, Some(exit), "{spec} {code}: {}", ran.stderr);
        }
        let field = if call == "Decrypt" { "Plaintext" } else { "SharedSecret" };
        for secret in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            let answer = json!({ "KeyId": arn, field: secret });
            cloud.proxy.fail_on(call, Fault::Answer(200, answer.to_string()));
            assert_eq!(verify(&arn).code, Some(4), "{spec} {secret:?}");
        }
        // The alias belongs to another key. The error says that the key is wrong, and not that the file is damaged.
        cloud.ok(&["key", "alias", &alias, other.trim()]);
        verify(&alias).failed(5, &["ARN"]);
        cloud.ok(&["key", "disable", &arn]);
        verify(&arn).failed(5, &["disabled"]);
        cloud.ok(&["key", "enable", &arn]);
        assert_eq!(verify(&arn).code, Some(0));
    }
    cloud.server().conforms();
}

#[test]
fn a_recipient_file_is_never_replaced_by_another_key() {
    let cloud = Cloud::small();
    for number in ["1", "2"] {
        cloud.ok(&["key", "create", "--spec", "ML_KEM_768", "--alias", &format!("alias/{number}")]);
    }
    cloud.ok(&["key", "public", "alias/1", "-o", "pub"]);
    let before = cloud.place.read("pub");
    assert_eq!(cloud.ok(&["key", "public", "alias/1", "-o", "pub"]).text(), "pub: unchanged\n");
    assert_eq!(cloud.json(&["key", "public", "--json", "alias/1", "-o", "pub"])["outcome"], "unchanged");
    cloud.run(&["key", "public", "alias/2", "-o", "pub"]).failed(8, &["holds the key arn:aws:kms:", "hint: "]);
    cloud.place.write("text", "something else");
    cloud.run(&["key", "public", "alias/1", "-o", "text"]).failed(8, &["is not a recipient file"]);
    assert!(cloud.place.read("pub") == before && cloud.place.read("text") == b"something else");
    let printed = cloud.ok(&["key", "public", "alias/2", "-o", "-"]).stdout;
    assert!(Recipient::parse(&printed).is_ok());

    // A key of an unsuitable kind is a usage error. An unsound public key in the answer is not the user's error.
    cloud.ok(&["key", "create", "--alias", "alias/symmetric"]);
    cloud.run(&["key", "public", "alias/symmetric", "-o", "new"]).failed(2, &["symmetric"]);
    let answer = json!({ "KeyId": format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef"),
        "KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms": ["ML_KEM"],
        "PublicKey": "AAAA" });
    cloud.proxy.fail_on("GetPublicKey", Fault::Answer(200, answer.to_string()));
    cloud.run(&["key", "public", "alias/1", "-o", "new"]).failed(4, &["sound"]);
    assert!(!cloud.place.exists("new"));
    // If the key has a public half but a symmetric key is needed, the error names the right command.
    cloud.place.write("in", "content");
    cloud.run(&["encrypt", "-k", "alias/1", "in"]).failed(5, &["waxseal key public alias/1"]);
    for bad in [
        &["key", "create", "--spec", "ML_KEM_512", "--alias", "alias/x"][..],
        &["key", "create", "--spec", "X-Wing", "--alias", "alias/x"],
        &["key", "create", "--spec", "ML_KEM_768", "--external", "--alias", "alias/x"],
        &["key", "public", "alias/1"],
        &["key", "public", "file:k", "-o", "x"],
    ] {
        assert_eq!(cloud.run(bad).code, Some(2), "{bad:?}");
    }
    cloud.server().conforms();
}

/// A key gets a second material, loses both materials, and gets both back.
#[test]
fn the_life_of_a_key_with_two_materials() {
    let cloud = Cloud::small();
    let arn = cloud.ok(&["key", "create", "--external", "--alias", "alias/two"]).text().trim().to_owned();
    let first = cloud.json(&["key", "import", "--json", "alias/two", "--generate", "first"]);
    let first_id = first["key_material_id"].as_str().unwrap().to_owned();
    assert_eq!(materials(&cloud, "alias/two"), [(first_id.clone(), "CURRENT".into(), Some(true))]);
    cloud.place.write("in", "content");
    let told = cloud.json(&["encrypt", "--json", "-k", "alias/two", "-o", "one.wax", "in"]);
    assert_eq!(told["key_material_id"], json!(first_id));

    // Different material needs `--new-material`. It is not used before the rotation.
    cloud.place.write("second", [0x5a; 32]);
    cloud.run(&["key", "import", "alias/two", "--material", "second"]).failed(5, &["--new-material"]);
    cloud.run(&["key", "rotate", "alias/two"]).failed(5, &["--new-material"]);
    let import =
        ["key", "import", "--json", "alias/two", "--material", "second", "--new-material", "--description", "2"];
    let told = cloud.json(&import);
    let second_id = told["key_material_id"].as_str().unwrap().to_owned();
    assert_eq!((&told["material_waiting"], &told["materials_missing"]), (&json!(true), &json!([])));
    let sent = cloud.last_body("ImportKeyMaterial");
    assert_eq!((&sent["ImportType"], &sent["KeyMaterialDescription"]), (&json!("NEW_KEY_MATERIAL"), &json!("2")));
    let told = cloud.json(&["verify", "--json", "-k", "alias/two", "one.wax"]);
    assert_eq!(told["key_material_id"], json!(first_id));
    let states = |first: &str, second: &str, there: [bool; 2]| {
        vec![
            (first_id.clone(), first.to_owned(), Some(there[0])),
            (second_id.clone(), second.to_owned(), Some(there[1])),
        ]
    };
    assert_eq!(materials(&cloud, "alias/two"), states("CURRENT", "PENDING_ROTATION", [true, true]));

    // After the rotation, new files are sealed with the new material, and old files still open.
    cloud.proxy.take();
    cloud.ok(&["key", "rotate", "alias/two"]);
    let calls = cloud.proxy.take();
    assert_eq!((calls[1].as_str(), calls.last().unwrap().as_str()), ("RotateKeyOnDemand", "DescribeKey"));
    assert_eq!(materials(&cloud, &arn), states("NON_CURRENT", "CURRENT", [true, true]));
    let told = cloud.json(&["encrypt", "--json", "-k", &arn, "-o", "two.wax", "in"]);
    assert_eq!(told["key_material_id"], json!(second_id));
    cloud.ok(&["verify", "-k", &arn, "one.wax", "two.wax"]);
    let shown = cloud.ok(&["key", "show", &arn]).text();
    assert!(shown.contains("rotated to on demand") && shown.contains("\"2\""), "{shown}");
    // A ReEncrypt reports both materials, the old one and the new one.
    let target = cloud.ok(&["key", "create", "--alias", "alias/target"]).text();
    let told = cloud.json(&["rewrap", "--json", "--from", &arn, "--to", target.trim(), "-o", "moved.wax", "one.wax"]);
    assert_eq!(told["changes"][0]["old_key_material_id"], json!(first_id), "{told}");
    assert_eq!(told["changes"][0]["key_material_id"].as_str().map(str::len), Some(64), "{told}");
    assert_eq!(told["key_material_id"], told["changes"][0]["key_material_id"]);

    // Both materials are deleted. After each import, the program reports which material is still missing.
    for id in [&first_id, &second_id] {
        cloud.ok(&["key", "delete-material", "alias/two", "--key-material-id", id, "--yes"]);
    }
    assert_eq!(materials(&cloud, "alias/two"), states("NON_CURRENT", "CURRENT", [false, false]));
    cloud.run(&["verify", "-k", &arn, "one.wax"]).failed(5, &["pending import"]);
    cloud.proxy.take();
    let ran = cloud.ok(&["key", "import", "alias/two", "--material", "second"]);
    assert!(ran.stderr.contains(&format!("also needs its material {first_id}")), "{}", ran.stderr);
    let calls = ["DescribeKey", "GetParametersForImport", "ImportKeyMaterial", "DescribeKey", "ListKeyRotations"];
    assert_eq!(cloud.proxy.take(), calls);
    let told = cloud.json(&["key", "import", "--json", "alias/two", "--material", "second"]);
    assert_eq!((&told["exit"], &told["materials_missing"]), (&json!(0), &json!([first_id])));
    let ran = cloud.ok(&["key", "import", "alias/two", "--material", "first"]);
    assert_eq!(ran.stderr, "");
    cloud.ok(&["verify", "-k", &arn, "one.wax", "two.wax"]);
    cloud.run(&["key", "delete-material", "alias/two", "--key-material-id", "1", "--yes"]).failed(2, &["64"]);
    cloud.server().conforms();
}

#[test]
fn a_key_of_aws_s_own_material_rotates_too() {
    let cloud = Cloud::small();
    let arn = cloud.ok(&["key", "create", "--alias", "alias/rotates"]).text().trim().to_owned();
    cloud.place.write("in", "content");
    let before = cloud.json(&["encrypt", "--json", "-k", "alias/rotates", "-o", "one.wax", "in"]);
    cloud.ok(&["key", "rotate", "alias/rotates"]);
    let after = cloud.json(&["encrypt", "--json", "-k", &arn, "-o", "two.wax", "in"]);
    assert_ne!(before["key_material_id"], after["key_material_id"]);
    cloud.ok(&["verify", "-k", &arn, "one.wax", "two.wax"]);
    cloud.ok(&["key", "create", "--spec", "ML_KEM_768", "--alias", "alias/public"]);
    cloud.run(&["key", "rotate", "alias/public"]).failed(5, &["rewrap"]);
    cloud.server().fail("RotateKeyOnDemand", "ConflictException", 1);
    cloud.run(&["key", "rotate", "alias/rotates"]).failed(5, &["in progress"]);
    cloud.server().conforms();
}

#[test]
fn a_key_is_made_with_its_description_tags_and_policy() {
    let cloud = Cloud::small();
    cloud.place.write("policy.json", r#"{"Version":"2012-10-17","Statement":[]}"#);
    let more = ["--description", "database backups", "--tag", "team=dba", "--tag", "empty=", "--policy", "policy.json"];
    cloud.ok(&[&["key", "create", "--alias", "alias/described"], &more[..]].concat());
    let sent = cloud.last_body("CreateKey");
    assert_eq!(sent["Description"], "database backups");
    let tags = json!([{ "TagKey": "team", "TagValue": "dba" }, { "TagKey": "empty", "TagValue": "" }]);
    assert_eq!((&sent["Tags"], &sent["Policy"]), (&tags, &json!(r#"{"Version":"2012-10-17","Statement":[]}"#)));
    cloud.place.write("broken.json", "{");
    cloud.run(&["key", "create", "--alias", "alias/b", "--policy", "broken.json"]).failed(5, &["MalformedPolicy"]);
    cloud.place.write("long.json", vec![b' '; 32_769]);
    cloud.run(&["key", "create", "--alias", "alias/b", "--policy", "long.json"]).failed(2, &["32768"]);
    cloud.run(&["key", "create", "--alias", "alias/b", "--policy", "missing"]).failed(7, &["missing"]);
    for tag in ["team", "=dba"] {
        assert_eq!(cloud.run(&["key", "create", "--alias", "alias/b", "--tag", tag]).code, Some(2));
    }
    cloud.server().conforms();
}

#[test]
fn the_end_of_a_key_can_be_taken_back() {
    let cloud = Cloud::small();
    let arn = cloud.ok(&["key", "create", "--alias", "alias/end"]).text().trim().to_owned();
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", "alias/end", "in"]);
    cloud.proxy.take();
    cloud.run(&["key", "schedule-deletion", "alias/end"]).failed(2, &["--yes"]);
    for days in ["6", "31", "x"] {
        assert_eq!(cloud.run(&["key", "schedule-deletion", "alias/end", "--days", days, "--yes"]).code, Some(2));
    }
    assert!(cloud.proxy.take().is_empty());
    let told = cloud.json(&["key", "schedule-deletion", "--json", "alias/end", "--days", "7", "--yes"]);
    assert!(told["key"] == json!(arn) && told["deletion"].is_string(), "{told}");
    assert_eq!(cloud.last_body("ScheduleKeyDeletion"), json!({ "KeyId": arn, "PendingWindowInDays": 7 }));
    cloud.run(&["verify", "-k", &arn, "in.wax"]).failed(5, &["pending deletion"]);
    cloud.ok(&["key", "cancel-deletion", "alias/end"]);
    cloud.run(&["verify", "-k", &arn, "in.wax"]).failed(5, &["disabled"]);
    cloud.ok(&["key", "enable", "alias/end"]);
    cloud.ok(&["verify", "-k", &arn, "in.wax"]);
    cloud.ok(&["key", "disable", "alias/end"]);
    cloud.run(&["verify", "-k", &arn, "in.wax"]).failed(5, &["disabled"]);
    cloud.server().conforms();
}

#[test]
fn an_alias_is_pointed_at_another_key() {
    let cloud = Cloud::small();
    let old = cloud.ok(&["key", "create", "--alias", "alias/backups"]).text().trim().to_owned();
    let new = cloud.ok(&["key", "create", "--alias", "alias/next"]).text().trim().to_owned();
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", "alias/backups", "in"]);
    let ran = cloud.ok(&["key", "alias", "alias/backups", "alias/next"]);
    assert!(ran.stderr.contains(&format!("-k {old}")) && ran.stderr.contains("waxseal rewrap"), "{}", ran.stderr);
    cloud.run(&["verify", "-k", "alias/backups", "in.wax"]).failed(5, &["hint: "]);
    cloud.ok(&["verify", "-k", &old, "in.wax"]);
    cloud.ok(&["rewrap", "--from", &old, "--to", "alias/backups", "in.wax"]);
    cloud.ok(&["verify", "-k", "alias/backups", "in.wax"]);
    cloud.proxy.take();
    let told = cloud.json(&["key", "alias", "--json", "alias/backups", &new]);
    assert_eq!((&told["outcome"], &told["old_key"]), (&json!("unchanged"), &json!(new)));
    assert_eq!(cloud.proxy.take(), ["DescribeKey", "DescribeKey"]);
    assert_eq!(cloud.json(&["key", "alias", "--json", "alias/third", &new])["outcome"], "made");
    cloud.run(&["key", "alias", "alias/aws/x", &new]).failed(2, &["alias/aws/"]);
    cloud.run(&["key", "alias", "backups", &new]).failed(2, &["alias/"]);
    let elsewhere = new.replace(REGION, "us-east-1");
    assert!(cloud.run(&["key", "alias", "alias/backups", &elsewhere]).code.is_some_and(|code| code != 0));
    cloud.server().conforms();
}

#[test]
fn an_expiry_beyond_a_year_is_refused_before_the_call() {
    let cloud = Cloud::small();
    cloud.ok(&["key", "create", "--external", "--alias", "alias/expires"]);
    cloud.place.write("material", [7; 32]);
    cloud.proxy.take();
    let at = |days: i64| {
        let at = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let at = at.replace_nanosecond(0).unwrap();
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let import = |at: &str| cloud.run(&["key", "import", "alias/expires", "--material", "material", "--valid-to", at]);
    import(&at(366)).failed(2, &["365 days", "hint: "]);
    assert!(cloud.proxy.take().is_empty());
    assert_eq!(import(&at(364)).code, Some(0));
    cloud.server().conforms();
}
