BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE api_keys (
	project_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT NOT NULL, 
	secret TEXT NOT NULL, 
	created_by TEXT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_api_keys PRIMARY KEY (project_id, id), 
	CONSTRAINT fk_api_keys_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
INSERT INTO "api_keys" VALUES('p1','k1','ci','','v1:gAAAAABrBPw4BSoQ75KdF_-mkaB7tiWqzxz8twViv9rRvIKu1tYYwMy5my_f68QWoFAzEqsuy05qB3GyKR2SABDeS6MgoFCvtg==',NULL,1756728000000);
CREATE TABLE members (
	project_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_members PRIMARY KEY (project_id, user_id), 
	CONSTRAINT fk_members_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	CONSTRAINT fk_members_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "members" VALUES('p1','u1','developer',1756728000000);
CREATE TABLE projects (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	owner_user_id TEXT, 
	settings TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (id)
);
INSERT INTO "projects" VALUES('p1','first',NULL,'{"theme":"dark"}',1756728000000);
CREATE TABLE rooms (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	name TEXT, 
	storage_name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_rooms PRIMARY KEY (id), 
	CONSTRAINT fk_rooms_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	CONSTRAINT uq_rooms_project_id_name UNIQUE (project_id, name), 
	CONSTRAINT uq_rooms_project_id_storage_name UNIQUE (project_id, storage_name)
);
INSERT INTO "rooms" VALUES('r1','p1','lobby','lobby',1756728000000);
CREATE TABLE secrets (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	type TEXT NOT NULL, 
	data TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_secrets PRIMARY KEY (id), 
	CONSTRAINT fk_secrets_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	CONSTRAINT uq_secrets_project_id_name UNIQUE (project_id, name)
);
INSERT INTO "secrets" VALUES('s1','p1','model','keys','v1:gAAAAABrBPw425tisaqQgb0kF0x93ckPIJhxeg_GhHcRcXVO9pzGDLh-8HZN2UZ0xhllYy09LXZ7Qnf4DeahEMpr_JqqUSdYlhK6PsQ7QungVJDmgYROXjU=',1756728000000);
CREATE TABLE services (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	definition TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT fk_services_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	CONSTRAINT uq_services_project_id_name UNIQUE (project_id, name)
);
INSERT INTO "services" VALUES('v1','p1','bot','v1:gAAAAABrBPw4Moa6zvZZ4jIg64F0FeYl-WSLWp75nkYBycqYGytmIOSoVHV8Ess3lu8e_oAMdeFBYm7Tn37gx8n-U51aHxyk4XfjuWggyevY55yDPlxSUzI=',1756728000000);
CREATE TABLE session_events (
	number INTEGER NOT NULL, 
	session_id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT pk_session_events PRIMARY KEY (number), 
	CONSTRAINT fk_session_events_session_id FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
INSERT INTO "session_events" VALUES(1,'e1',1756728000000,'room.participant_joined','{"name":"ada"}');
CREATE TABLE sessions (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	room_name TEXT NOT NULL, 
	server TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	participants INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
INSERT INTO "sessions" VALUES('e1','p1','lobby','here',1756728000000,1756728000000,2);
CREATE TABLE user_tokens (
	id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	expires_at BIGINT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_user_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_user_tokens_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT uq_user_tokens_digest UNIQUE (digest)
);
INSERT INTO "user_tokens" VALUES('t1','u1','laptop','0000000000000000000000000000000000000000000000000000000000000000',NULL,1756728000000);
CREATE TABLE users (
	id TEXT NOT NULL, 
	email TEXT NOT NULL, 
	first_name TEXT NOT NULL, 
	last_name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_email UNIQUE (email)
);
INSERT INTO "users" VALUES('u1','ada@example.com','Ada','Lovelace',1756728000000);
CREATE TABLE webhooks (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT NOT NULL, 
	url TEXT NOT NULL, 
	events TEXT NOT NULL, 
	action TEXT, 
	payload TEXT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (id), 
	CONSTRAINT fk_webhooks_project_id FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
INSERT INTO "webhooks" VALUES('w1','p1','hook','','http://localhost/x','["room.started"]',NULL,NULL,1756728000000);
CREATE INDEX ix_members_user_id ON members (user_id);
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE INDEX ix_sessions_project_id_created_at ON sessions (project_id, created_at);
CREATE INDEX ix_user_tokens_user_id ON user_tokens (user_id);
CREATE INDEX ix_webhooks_project_id_created_at ON webhooks (project_id, created_at);
CREATE INDEX ix_session_events_session_id_number ON session_events (session_id, number);
COMMIT;
