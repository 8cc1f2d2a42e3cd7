//! Commands about roles (MongoDB manual: *Role Management Commands*). A role belongs to the database that the command runs in, and
//! is about that database alone unless it is `admin`.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_auth::{
    Action, Actions, Privilege, Privileges, Resource, Role, RoleName, pattern_from_document, privileges_to_array,
    role_names,
};

use super::users::{name_of, of_roles, or_of_home, owned, roles_alone, roles_of, subject};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::Need;
use crate::request::{Request, missing};
use crate::value::{Value, check_names, fields};

pub(super) const CREATE_ROLE: Command = Command {
    name: "createRole",
    aliases: &[],
    help: "Makes a role",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| {
        let mut needs = vec![(Action::CreateRole, Resource::Database(request.database))];
        needs.extend(of_roles(request, "roles", Action::GrantRole)?);
        needs.extend(of_privileges(request, Action::GrantRole)?);
        Ok(needs)
    }),
    run: create,
};

pub(super) const UPDATE_ROLE: Command = Command {
    name: "updateRole",
    aliases: &[],
    help: "Gives a role other privileges or roles",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| {
        let mut needs = vec![(Action::RevokeRole, Resource::Database(request.database))];
        needs.extend(of_roles(request, "roles", Action::GrantRole)?);
        needs.extend(of_privileges(request, Action::GrantRole)?);
        Ok(needs)
    }),
    run: update,
};

pub(super) const DROP_ROLE: Command = Command {
    name: "dropRole",
    aliases: &[],
    help: "Drops a role, and takes it from whoever has it",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Database(&[Action::DropRole]),
    run: |context| {
        context.request.no_arguments()?;
        context.server.authority.drop_role(&subject(context)?)?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const DROP_ALL_ROLES: Command = Command {
    name: "dropAllRolesFromDatabase",
    aliases: &[],
    help: "Drops all roles of a database that users have made",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Database(&[Action::DropRole]),
    run: |context| {
        context.request.no_arguments()?;
        let dropped = context.server.authority.drop_roles_of(context.request.database)?;
        Ok(rawdoc! { "n": i32::try_from(dropped).unwrap_or(i32::MAX) })
    },
};

pub(super) const GRANT_PRIVILEGES: Command = Command {
    name: "grantPrivilegesToRole",
    aliases: &[],
    help: "Gives a role privileges",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| or_of_home(request, of_privileges(request, Action::GrantRole), Action::GrantRole)),
    run: |context| {
        let added = privileges_alone(context)?;
        let name = subject(context)?;
        let authority = &context.server.authority;
        authority.update_role(&name, |role| role.privileges.extend(&added))?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const REVOKE_PRIVILEGES: Command = Command {
    name: "revokePrivilegesFromRole",
    aliases: &[],
    help: "Takes privileges from a role",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Fields(|request| or_of_home(request, of_privileges(request, Action::RevokeRole), Action::RevokeRole)),
    run: |context| {
        let removed = privileges_alone(context)?;
        let name = subject(context)?;
        context.server.authority.update_role(&name, |role| {
            for privilege in removed.iter() {
                role.privileges.remove(&privilege.resource, privilege.actions);
            }
        })?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const GRANT_ROLES: Command = Command {
    name: "grantRolesToRole",
    aliases: &[],
    help: "Has a role include others",
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
        let (name, roles) = (subject(context)?, roles_alone(context)?);
        context.server.authority.update_role(&name, |role| {
            for added in roles {
                if !role.roles.contains(&added) {
                    role.roles.push(added);
                }
            }
        })?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const REVOKE_ROLES: Command = Command {
    name: "revokeRolesFromRole",
    aliases: &[],
    help: "Has a role no longer include others",
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
        let (name, roles) = (subject(context)?, roles_alone(context)?);
        let authority = &context.server.authority;
        authority.update_role(&name, |role| role.roles.retain(|included| !roles.contains(included)))?;
        Ok(RawDocumentBuf::new())
    },
};

pub(super) const ROLES_INFO: Command = Command {
    name: "rolesInfo",
    aliases: &[],
    help: "Roles, with what they include",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Fields(|request| {
        let names = asked_for(request)?.unwrap_or_else(|| vec![(request.database, "")]);
        let databases = names.into_iter().map(|(database, _)| Resource::Database(database));
        Ok(databases.map(|database| (Action::ViewRole, database)).collect())
    }),
    run: info,
};

/// An action on the database of each privilege: on `admin` for those about more than one.
fn of_privileges<'a>(request: &Request<'a>, action: Action) -> CommandResult<Vec<Need<'a>>> {
    let Some(array) = request.arguments().find(|argument| argument.name == "privileges") else {
        return Ok(Vec::new());
    };
    let mut needs = Vec::new();
    for privilege in array.documents()? {
        let resource = privilege.get_document("resource").ok();
        let database = resource.and_then(|resource| resource.get_str("db").ok());
        let home = database.filter(|database| !database.is_empty()).unwrap_or("admin");
        needs.push((action, Resource::Database(home)));
    }
    Ok(needs)
}

/// `[{resource, actions}, …]`.
fn privileges_of(array: Value<'_>) -> CommandResult<Privileges> {
    let documents = array.documents()?.into_iter();
    documents.map(privilege).collect()
}

fn privilege(document: &RawDocument) -> CommandResult<Privilege> {
    let (mut resource, mut actions) = (None, None);
    for field in fields("privileges", document) {
        let field = field?;
        match field.name {
            "resource" => {
                let document = field.document()?;
                check_names("resource", document)?;
                let pattern = pattern_from_document(document);
                resource = Some(pattern.ok_or_else(|| {
                    let message = "a resource is {db, collection}, {cluster: true} or {anyResource: true}";
                    CommandError::new(code::FAILED_TO_PARSE, message)
                })?);
            }
            "actions" => actions = Some(actions_of(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Privilege {
        resource: resource.ok_or_else(|| missing("privileges", "resource"))?,
        actions: actions.ok_or_else(|| missing("privileges", "actions"))?,
    })
}

fn actions_of(array: Value<'_>) -> CommandResult<Actions> {
    let mut actions = Vec::new();
    for name in array.array()? {
        let name = name.ok().and_then(RawBsonRef::as_str).unwrap_or_default();
        let action = match name {
            "anyAction" => return Ok(Actions::ALL),
            name => Action::from_name(name),
        };
        actions.push(action.ok_or_else(|| {
            let message = format!("Unrecognized action privilege strings: {name}");
            CommandError::new(code::FAILED_TO_PARSE, message)
        })?);
    }
    Ok(Actions::of(&actions))
}

/// The privileges of a command that has nothing else.
fn privileges_alone(context: &Context<'_>) -> CommandResult<Privileges> {
    let mut privileges = None;
    for field in context.request.arguments() {
        match field.name {
            "privileges" => privileges = Some(privileges_of(field)?),
            _ => return Err(field.unknown()),
        }
    }
    privileges.ok_or_else(|| missing(context.request.name, "privileges"))
}

/// The fields that `createRole` and `updateRole` have.
fn parts(context: &Context<'_>) -> CommandResult<(Option<Privileges>, Option<Vec<RoleName>>)> {
    let (mut privileges, mut roles) = (None, None);
    for field in context.request.arguments() {
        match field.name {
            "privileges" => privileges = Some(privileges_of(field)?),
            "roles" => roles = Some(owned(roles_of(context.request, field)?)),
            "authenticationRestrictions" => field.unsupported(field.array()?.is_empty())?,
            _ => return Err(field.unknown()),
        }
    }
    Ok((privileges, roles))
}

fn create(context: &mut Context<'_>) -> CommandResult {
    let (privileges, roles) = parts(context)?;
    let role = Role {
        name: subject(context)?,
        privileges: privileges.ok_or_else(|| missing("createRole", "privileges"))?,
        roles: roles.ok_or_else(|| missing("createRole", "roles"))?,
    };
    context.server.authority.create_role(&role)?;
    Ok(RawDocumentBuf::new())
}

fn update(context: &mut Context<'_>) -> CommandResult {
    let (privileges, roles) = parts(context)?;
    if privileges.is_none() && roles.is_none() {
        return Err(CommandError::new(
            code::BAD_VALUE,
            "Must specify at least one field to update in updateRole",
        ));
    }
    let name = subject(context)?;
    context.server.authority.update_role(&name, |role| {
        if let Some(privileges) = privileges {
            role.privileges = privileges;
        }
        if let Some(roles) = roles {
            role.roles = roles;
        }
    })?;
    Ok(RawDocumentBuf::new())
}

/// The names that `rolesInfo` has, each with its database; none when it asks for all of the database it runs in.
fn asked_for<'a>(request: &Request<'a>) -> CommandResult<Option<Vec<(&'a str, &'a str)>>> {
    let subject = request.subject()?;
    match subject.value {
        RawBsonRef::Array(_) => roles_of(request, subject).map(Some),
        RawBsonRef::String(_) | RawBsonRef::Document(_) => {
            name_of(request.database, subject, "role").map(|name| Some(vec![name]))
        }
        _ => Ok(None),
    }
}

fn info(context: &mut Context<'_>) -> CommandResult {
    let (mut privileges, mut built_in) = (false, false);
    for field in context.request.arguments() {
        match field.name {
            "showPrivileges" => privileges = field.boolean()?,
            "showBuiltinRoles" => built_in = field.boolean()?,
            "showAuthenticationRestrictions" => drop(field.boolean()?),
            _ => return Err(field.unknown()),
        }
    }
    let authority = &context.server.authority;
    let names = match asked_for(context.request)? {
        Some(names) => owned(names),
        None => authority.role_names(context.request.database, built_in),
    };
    let mut roles = RawArrayBuf::new();
    for name in names {
        if let Some((role, is_built_in)) = authority.role(&name) {
            roles.push(describe(context, &role, is_built_in, privileges));
        }
    }
    Ok(rawdoc! { "roles": roles })
}

fn describe(context: &Context<'_>, role: &Role, is_built_in: bool, with_privileges: bool) -> RawDocumentBuf {
    let authority = &context.server.authority;
    let mut document = rawdoc! {
        "_id": format!("{}.{}", role.name.database, role.name.name),
        "role": role.name.name.as_str(),
        "db": role.name.database.as_str(),
        "isBuiltin": is_built_in,
        "roles": role_names(&role.roles),
        "inheritedRoles": role_names(&authority.inherited_roles(&role.roles)),
    };
    if with_privileges {
        let mut inherited = role.privileges.clone();
        inherited.extend(&authority.privileges_of_roles(&role.roles));
        document.append(cstr!("privileges"), privileges_to_array(&role.privileges));
        document.append(cstr!("inheritedPrivileges"), privileges_to_array(&inherited));
    }
    document
}
