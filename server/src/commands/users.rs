//! Commands about users (MongoDB manual: *User Management Commands*). A user belongs to the database that the command runs in,
//! which says nothing of what it may do.

use bson::raw::cstr;
use bson::{Binary, RawArrayBuf, RawBsonRef, RawDocumentBuf, rawdoc};
use tailwater_auth::{
    Action, Mechanism, Resource, RoleName, User, UserChange, UserName, privileges_to_array, role_names,
};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::Need;
use crate::request::{Request, missing};
use crate::value::{Value, fields};

pub(super) const CREATE_USER: Command = Command {
    name: "createUser",
    aliases: &[],
    help: "Makes a user",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| {
        let mut needs = vec![(Action::CreateUser, Resource::Database(request.database))];
        needs.extend(of_roles(request, "roles", Action::GrantRole)?);
        Ok(needs)
    }),
    run: create,
};

/// Users may change some of themselves, so what it needs depends on who asks.
pub(super) const UPDATE_USER: Command = Command {
    name: "updateUser",
    aliases: &[],
    help: "Changes a user's password, roles or custom data",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Login,
    run: update,
};

pub(super) const DROP_USER: Command = Command {
    name: "dropUser",
    aliases: &[],
    help: "Drops a user",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Database(&[Action::DropUser]),
    run: |context| {
        context.request.no_arguments()?;
        context.server.authority.drop_user(&subject(context)?)?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const DROP_ALL_USERS: Command = Command {
    name: "dropAllUsersFromDatabase",
    aliases: &[],
    help: "Drops all users of a database",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Database(&[Action::DropUser]),
    run: |context| {
        context.request.no_arguments()?;
        let dropped = context.server.authority.drop_users_of(context.request.database)?;
        Ok(rawdoc! { "n": i32::try_from(dropped).unwrap_or(i32::MAX) })
    },
};

pub(super) const GRANT_ROLES: Command = Command {
    name: "grantRolesToUser",
    aliases: &[],
    help: "Gives a user roles",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| {
        or_of_home(
            request,
            of_roles(request, "roles", Action::GrantRole),
            Action::GrantRole,
        )
    }),
    run: |context| {
        let (user, roles) = (subject(context)?, roles_alone(context)?);
        context.server.authority.grant_roles(&user, &roles)?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const REVOKE_ROLES: Command = Command {
    name: "revokeRolesFromUser",
    aliases: &[],
    help: "Takes roles from a user",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| {
        or_of_home(
            request,
            of_roles(request, "roles", Action::RevokeRole),
            Action::RevokeRole,
        )
    }),
    run: |context| {
        let (user, roles) = (subject(context)?, roles_alone(context)?);
        context.server.authority.revoke_roles(&user, &roles)?;
        Ok(RawDocumentBuf::new())
    },
};

/// Users may see themselves, so what it needs depends on who asks.
pub(super) const USERS_INFO: Command = Command {
    name: "usersInfo",
    aliases: &[],
    help: "Users, with their roles",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Login,
    run: info,
};

/// The user or the role that a command names, in the database it runs in.
pub(super) fn subject(context: &Context<'_>) -> CommandResult<UserName> {
    let name = context.request.subject()?.string()?;
    Ok(UserName::new(context.request.database, name))
}

/// The members of an array of roles: `"name"`, in the database the command runs in, or `{role, db}`.
pub(super) fn roles_of<'a>(request: &Request<'a>, array: Value<'a>) -> CommandResult<Vec<(&'a str, &'a str)>> {
    names_of(request.database, array, "role")
}

/// The members of an array of names of users or roles.
fn names_of<'a>(database: &'a str, array: Value<'a>, field: &str) -> CommandResult<Vec<(&'a str, &'a str)>> {
    let members = array.array()?.into_iter();
    members
        .map(|member| match member.ok() {
            Some(value) => name_of(database, Value { value, ..array }, field),
            None => Err(malformed(array)),
        })
        .collect()
}

/// The database and the name in it of `"name"` or `{user or role, db}`.
pub(super) fn name_of<'a>(database: &'a str, value: Value<'a>, field: &str) -> CommandResult<(&'a str, &'a str)> {
    match value.value {
        RawBsonRef::String(name) => Ok((database, name)),
        RawBsonRef::Document(document) => match (document.get_str("db"), document.get_str(field)) {
            (Ok(database), Ok(name)) => Ok((database, name)),
            _ => Err(malformed(value)),
        },
        _ => Err(malformed(value)),
    }
}

fn malformed(value: Value<'_>) -> CommandError {
    let message = format!(
        "'{}.{}' must have names, or documents of a name and a db",
        value.command, value.name
    );
    CommandError::new(code::BAD_VALUE, message)
}

/// An action on the database of each of the roles in that field.
pub(super) fn of_roles<'a>(request: &Request<'a>, field: &str, action: Action) -> CommandResult<Vec<Need<'a>>> {
    let Some(array) = request.arguments().find(|argument| argument.name == field) else {
        return Ok(Vec::new());
    };
    let roles = roles_of(request, array)?;
    Ok(roles
        .into_iter()
        .map(|(database, _)| (action, Resource::Database(database)))
        .collect())
}

/// The same for a command that does nothing else: with an empty list it needs the action on the database it runs in, as it
/// tells whether there is such a user or role.
pub(super) fn or_of_home<'a>(
    request: &Request<'a>,
    needs: CommandResult<Vec<Need<'a>>>,
    action: Action,
) -> CommandResult<Vec<Need<'a>>> {
    let mut needs = needs?;
    if needs.is_empty() {
        needs.push((action, Resource::Database(request.database)));
    }
    Ok(needs)
}

/// The roles of a command that has nothing else.
pub(super) fn roles_alone(context: &Context<'_>) -> CommandResult<Vec<RoleName>> {
    let mut roles = None;
    for field in context.request.arguments() {
        match field.name {
            "roles" => roles = Some(owned(roles_of(context.request, field)?)),
            _ => return Err(field.unknown()),
        }
    }
    roles.ok_or_else(|| missing(context.request.name, "roles"))
}

pub(super) fn owned(names: Vec<(&str, &str)>) -> Vec<RoleName> {
    names
        .into_iter()
        .map(|(database, name)| RoleName::new(database, name))
        .collect()
}

/// The fields that `createUser` and `updateUser` have.
fn change(context: &Context<'_>) -> CommandResult<UserChange> {
    let mut change = UserChange::default();
    for field in context.request.arguments() {
        match field.name {
            "pwd" => change.password = Some(field.string()?.into()),
            "roles" => change.roles = Some(owned(roles_of(context.request, field)?)),
            "customData" => change.custom_data = Some(field.owned()?),
            "mechanisms" => change.mechanisms = Some(mechanisms(field)?),
            // The server makes the keys: a client that has digested the password itself could not log in by SCRAM-SHA-256.
            "digestPassword" => field.unsupported(field.boolean()?)?,
            "passwordDigestor" => field.unsupported(field.string()? == "server")?,
            "authenticationRestrictions" => field.unsupported(field.array()?.is_empty())?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(change)
}

fn mechanisms(field: Value<'_>) -> CommandResult<Vec<Mechanism>> {
    let members = field.array()?.into_iter();
    members
        .map(|member| {
            let name = member.ok().and_then(RawBsonRef::as_str).unwrap_or_default();
            Mechanism::from_name(name)
                .ok_or_else(|| CommandError::new(code::BAD_VALUE, format!("Unknown auth mechanism '{name}'")))
        })
        .collect()
}

fn create(context: &mut Context<'_>) -> CommandResult {
    let user = change(context)?;
    for (name, is_missing) in [("pwd", user.password.is_none()), ("roles", user.roles.is_none())] {
        if is_missing {
            return Err(missing("createUser", name));
        }
    }
    let name = subject(context)?;
    context.server.authority.create_user(context.identity(), &name, &user)?;
    Ok(RawDocumentBuf::new())
}

fn update(context: &mut Context<'_>) -> CommandResult {
    let (name, change) = (subject(context)?, change(context)?);
    // Each field asks for a right of its own: without any, nothing would be asked.
    if change.is_empty() {
        return Err(CommandError::new(
            code::BAD_VALUE,
            "Must specify at least one field to update in updateUser",
        ));
    }
    let is_own = context.identity().name() == Some(&name);
    let home = Resource::Database(context.request.database);
    let either = |of_anybody, of_own| match is_own && context.may(of_own, home) {
        true => Ok(()),
        false => context.require(of_anybody, home),
    };
    if change.password.is_some() || change.mechanisms.is_some() {
        either(Action::ChangePassword, Action::ChangeOwnPassword)?;
    }
    if change.custom_data.is_some() {
        either(Action::ChangeCustomData, Action::ChangeOwnCustomData)?;
    }
    let authority = &context.server.authority;
    if let Some(roles) = &change.roles {
        for role in roles {
            context.require(Action::GrantRole, Resource::Database(&role.database))?;
        }
        // Those that it has and may lose.
        context.require(Action::RevokeRole, home)?;
        for role in authority.user(&name).iter().flat_map(|user| &user.roles) {
            context.require(Action::RevokeRole, Resource::Database(&role.database))?;
        }
    }
    authority.update_user(&name, &change)?;
    Ok(RawDocumentBuf::new())
}

/// What of users is shown.
#[derive(Default)]
struct Shown {
    privileges: bool,
    custom_data: bool,
}

fn info(context: &mut Context<'_>) -> CommandResult {
    let mut shown = Shown {
        custom_data: true,
        ..Shown::default()
    };
    for field in context.request.arguments() {
        match field.name {
            "showPrivileges" => shown.privileges = field.boolean()?,
            "showCustomData" => shown.custom_data = field.boolean()?,
            "showAuthenticationRestrictions" => drop(field.boolean()?),
            // Keys are shown to nobody.
            "showCredentials" => field.unsupported(!field.boolean()?)?,
            "filter" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let mut users = RawArrayBuf::new();
    for user in asked_for(context)? {
        users.push(describe(context, &user, &shown));
    }
    Ok(rawdoc! { "users": users })
}

/// The users that `usersInfo` names, of those that its client may see.
fn asked_for(context: &Context<'_>) -> CommandResult<Vec<std::sync::Arc<User>>> {
    let authority = &context.server.authority;
    let (request, subject) = (context.request, context.request.subject()?);
    let named = match subject.value {
        RawBsonRef::Document(all) if is_for_all(all)? => {
            context.require(Action::ViewUser, Resource::AllCollections)?;
            return Ok(authority.users());
        }
        RawBsonRef::Array(_) => names_of(request.database, subject, "user")?,
        RawBsonRef::String(_) | RawBsonRef::Document(_) => vec![name_of(request.database, subject, "user")?],
        _ => {
            context.require(Action::ViewUser, Resource::Database(request.database))?;
            let mut users = authority.users();
            users.retain(|user| user.name.database == request.database);
            return Ok(users);
        }
    };
    let mut users = Vec::new();
    for (database, name) in named {
        let name = UserName::new(database, name);
        if context.identity().name() != Some(&name) {
            context.require(Action::ViewUser, Resource::Database(database))?;
        }
        users.extend(authority.user(&name));
    }
    Ok(users)
}

fn is_for_all(document: &bson::RawDocument) -> CommandResult<bool> {
    let mut all = false;
    for field in fields("usersInfo", document) {
        let field = field?;
        if field.name == "forAllDBs" {
            all = field.boolean()?;
        }
    }
    Ok(all)
}

fn describe(context: &Context<'_>, user: &User, shown: &Shown) -> RawDocumentBuf {
    let authority = &context.server.authority;
    let mut document = rawdoc! {
        "_id": format!("{}.{}", user.name.database, user.name.name),
        "userId": Binary::from_uuid(user.id.uuid()),
        "user": user.name.name.as_str(),
        "db": user.name.database.as_str(),
        "roles": role_names(&user.roles),
        "mechanisms": RawArrayBuf::from_iter(user.mechanisms().map(Mechanism::name)),
    };
    if let Some(data) = user.custom_data.as_ref().filter(|_| shown.custom_data) {
        document.append(cstr!("customData"), data.clone());
    }
    if shown.privileges {
        document.append(
            cstr!("inheritedRoles"),
            role_names(&authority.inherited_roles(&user.roles)),
        );
        document.append(
            cstr!("inheritedPrivileges"),
            privileges_to_array(&authority.privileges_of_roles(&user.roles)),
        );
    }
    document
}
