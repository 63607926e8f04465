//! The environment variables that the program, or a library on its behalf, reads.

/// Names that mean the same, and what they do. `docs/environment.md` has the same rows, and a test compares both with
/// the sources.
pub(crate) const VARIABLES: &[(&[&str], &str)] = &[
    (
        &["WAXSEAL_KEY"],
        "Keys, separated by commas. encrypt uses them if there is no -k. Opening without -k tries the local keys among them.",
    ),
    (&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"], "The AWS profile, if there is no --profile."),
    (
        &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"],
        "The files with the AWS profiles. By default ~/.aws/config and ~/.aws/credentials.",
    ),
    (
        &["HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"],
        "The folder that ~ means in the AWS configuration. waxseal also runs without it.",
    ),
    (&["AWS_REGION", "AWS_DEFAULT_REGION"], "The region of keys whose name has no region, if there is no --region."),
    (
        &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"],
        "AWS credentials. They have priority over a profile, but not over --profile. AWS_SECURITY_TOKEN is an old name of AWS_SESSION_TOKEN.",
    ),
    (&["AWS_ACCOUNT_ID"], "The account of these credentials."),
    (
        &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"],
        "A role that is assumed with a web identity, as in Kubernetes.",
    ),
    (&["AWS_LOGIN_CACHE_DIRECTORY"], "Where aws login stores its credentials."),
    (
        &[
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ],
        "Where a container gets its credentials.",
    ),
    (
        &[
            "AWS_EC2_METADATA_DISABLED",
            "AWS_EC2_METADATA_V1_DISABLED",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        ],
        "Whether and where an EC2 instance is asked for credentials and its region.",
    ),
    (
        &[
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_KMS",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ENDPOINT_URL_SSO",
            "AWS_ENDPOINT_URL_SSO_OIDC",
            "AWS_ENDPOINT_URL_SIGNIN",
        ],
        "Addresses to call instead of the usual ones: for all services, or for one.",
    ),
    (&["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"], "If true, these addresses are ignored."),
    (
        &["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"],
        "If true, the FIPS or the dual-stack endpoints are called.",
    ),
    (&["AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"], "How often a call is tried, and how."),
    (&["AWS_CA_BUNDLE"], "A file with trust roots, which replace those of the system."),
    (&["SSL_CERT_FILE", "SSL_CERT_DIR"], "Where the trust roots of the system are."),
    (
        &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        "The proxy for calls: by https, by http, and for both.",
    ),
    (&["NO_PROXY", "no_proxy"], "Hosts that are called without the proxy."),
    (
        &["REQUEST_METHOD"],
        "Set by a web server for its CGI programs. HTTP_PROXY is then ignored, because a visitor could have set it.",
    ),
    (&["AWS_SDK_UA_APP_ID", "AWS_EXECUTION_ENV"], "Sent to AWS in the User-Agent."),
    (&["NO_COLOR", "TERM"], "If NO_COLOR is set, or TERM is dumb or not set, the help has no colours."),
    (&["COLUMNS"], "The width of the help, if the output is not a terminal."),
    (
        &["PATH"],
        "Where the command of --from-command or --to-command, and a credential_process of a profile, are found.",
    ),
    (&["RAYON_NUM_THREADS"], "The number of threads of salvage, at most 64. Without it, one for each core."),
];
