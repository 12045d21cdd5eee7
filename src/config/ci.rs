//! What CI systems say about a build in the environment. Names are those of each vendor's documentation of predefined
//! variables.

use super::Env;

/// Facts about the build; each is `None` if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Branch under test; of a pull request, its source branch.
    pub branch: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// Page of the build.
    pub build_url: Option<String>,
    /// Who started it.
    pub user: Option<String>,
}

/// A CI system: the variable that gives it away, and for each fact the variables to look at, best first.
struct System {
    mark: &'static str,
    branch: &'static [&'static str],
    commit: &'static [&'static str],
    build_url: &'static [&'static str],
    user: &'static [&'static str],
}

const SYSTEMS: &[System] = &[
    // GitHub; Gitea and Forgejo set the same names.
    System {
        mark: "GITHUB_ACTIONS",
        branch: &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"],
        commit: &["GITHUB_SHA"],
        build_url: &[],
        user: &["GITHUB_ACTOR"],
    },
    System {
        mark: "GITLAB_CI",
        branch: &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"],
        commit: &["CI_COMMIT_SHA"],
        build_url: &["CI_JOB_URL", "CI_PIPELINE_URL"],
        user: &["GITLAB_USER_LOGIN"],
    },
    System {
        mark: "BUILDKITE",
        branch: &["BUILDKITE_BRANCH"],
        commit: &["BUILDKITE_COMMIT"],
        build_url: &["BUILDKITE_BUILD_URL"],
        user: &["BUILDKITE_BUILD_CREATOR"],
    },
    System {
        mark: "CIRCLECI",
        branch: &["CIRCLE_BRANCH"],
        commit: &["CIRCLE_SHA1"],
        build_url: &["CIRCLE_BUILD_URL"],
        user: &["CIRCLE_USERNAME"],
    },
    System {
        mark: "TF_BUILD",
        branch: &["SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"],
        commit: &["BUILD_SOURCEVERSION"],
        build_url: &[],
        user: &["BUILD_REQUESTEDFOR"],
    },
    System {
        mark: "TRAVIS",
        branch: &["TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"],
        commit: &["TRAVIS_COMMIT"],
        build_url: &["TRAVIS_BUILD_WEB_URL"],
        user: &[],
    },
    // Last, because only BUILD_URL marks it, and others might set that too.
    System {
        mark: "BUILD_URL",
        branch: &["CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"],
        commit: &["GIT_COMMIT"],
        build_url: &["BUILD_URL"],
        user: &["BUILD_USER_ID", "CHANGE_AUTHOR"],
    },
];

/// What the environment says; nothing outside CI.
pub fn build(env: &Env) -> Build {
    let get = |name: &str| env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let Some(system) = SYSTEMS.iter().find(|system| get(system.mark).is_some()) else { return Build::default() };
    let first = |names: &[&str]| names.iter().find_map(|name| get(name)).map(str::to_owned);
    let build_url = match system.mark {
        "GITHUB_ACTIONS" => github_url(&get),
        "TF_BUILD" => azure_url(&get),
        _ => first(system.build_url),
    };
    let branch = first(system.branch).map(|name| branch_name(&name, system.mark).to_owned());
    Build { branch, commit: first(system.commit), build_url, user: first(system.user) }
}

/// Azure gives whole refs, Jenkins' git plugin gives the remote's name in front.
fn branch_name<'a>(name: &'a str, mark: &str) -> &'a str {
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    if mark == "BUILD_URL" { name.strip_prefix("origin/").unwrap_or(name) } else { name }
}

fn github_url<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let (server, repository) = (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?);
    Some(format!("{server}/{repository}/actions/runs/{}", get("GITHUB_RUN_ID")?))
}

fn azure_url<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let collection = get("SYSTEM_COLLECTIONURI")?.trim_end_matches('/');
    let project = get("SYSTEM_TEAMPROJECT")?.replace(' ', "%20");
    Some(format!("{collection}/{project}/_build/results?buildId={}", get("BUILD_BUILDID")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> [Option<String>; 4] {
        let env = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let build = build(&env);
        [build.branch, build.commit, build.build_url, build.user]
    }

    fn is(branch: &str, commit: &str, url: &str, user: &str) -> [Option<String>; 4] {
        [branch, commit, url, user].map(|text| (!text.is_empty()).then(|| text.into()))
    }

    #[test]
    fn each_ci_system_tells_branch_commit_page_and_user() {
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REF_NAME", "17/merge"),
            ("GITHUB_HEAD_REF", "feature/pay"),
            ("GITHUB_SHA", "abc"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_RUN_ID", "42"),
            ("GITHUB_ACTOR", "kim"),
        ];
        assert_eq!(of(&github), is("feature/pay", "abc", "https://github.com/acme/shop/actions/runs/42", "kim"));
        let gitlab = [
            ("GITLAB_CI", "true"),
            ("CI_COMMIT_REF_NAME", "main"),
            ("CI_COMMIT_SHA", "abc"),
            ("CI_JOB_URL", "https://gitlab.example/j/1"),
            ("GITLAB_USER_LOGIN", "kim"),
        ];
        assert_eq!(of(&gitlab), is("main", "abc", "https://gitlab.example/j/1", "kim"));
        let jenkins = [("BUILD_URL", "https://ci.example/7/"), ("GIT_BRANCH", "origin/main"), ("GIT_COMMIT", "abc")];
        assert_eq!(of(&jenkins), is("main", "abc", "https://ci.example/7/", ""));
        let buildkite = [
            ("BUILDKITE", "true"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_COMMIT", "abc"),
            ("BUILDKITE_BUILD_URL", "https://b.example/1"),
            ("BUILDKITE_BUILD_CREATOR", "Kim"),
        ];
        assert_eq!(of(&buildkite), is("main", "abc", "https://b.example/1", "Kim"));
        let circle = [("CIRCLECI", "true"), ("CIRCLE_BRANCH", "main"), ("CIRCLE_SHA1", "abc")];
        assert_eq!(of(&circle), is("main", "abc", "", ""));
        let azure = [
            ("TF_BUILD", "True"),
            ("BUILD_SOURCEBRANCH", "refs/heads/main"),
            ("BUILD_SOURCEVERSION", "abc"),
            ("SYSTEM_COLLECTIONURI", "https://dev.azure.com/acme/"),
            ("SYSTEM_TEAMPROJECT", "My Shop"),
            ("BUILD_BUILDID", "9"),
        ];
        assert_eq!(of(&azure), is("main", "abc", "https://dev.azure.com/acme/My%20Shop/_build/results?buildId=9", ""));
    }

    #[test]
    fn outside_ci_and_with_empty_variables_nothing_is_known() {
        assert_eq!(of(&[("GITHUB_SHA", "abc"), ("USER", "kim")]), is("", "", "", ""));
        assert_eq!(
            of(&[("GITHUB_ACTIONS", "true"), ("GITHUB_HEAD_REF", ""), ("GITHUB_REF_NAME", "main")]),
            is("main", "", "", "")
        );
    }
}
