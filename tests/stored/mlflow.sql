BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('dc11669786a5');
CREATE TABLE "assessments" (
	assessment_id VARCHAR(50) NOT NULL, 
	trace_id VARCHAR(50) NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	assessment_type VARCHAR(20) NOT NULL, 
	value TEXT NOT NULL, 
	error TEXT, 
	created_timestamp BIGINT NOT NULL, 
	last_updated_timestamp BIGINT NOT NULL, 
	source_type VARCHAR(50) NOT NULL, 
	source_id VARCHAR(250), 
	run_id VARCHAR(32), 
	span_id VARCHAR(50), 
	rationale TEXT, 
	overrides VARCHAR(50), 
	valid BOOLEAN NOT NULL, 
	assessment_metadata TEXT, 
	experiment_id INTEGER, 
	trace_timestamp_ms BIGINT, 
	aggregate_value FLOAT, 
	is_numeric_value BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT assessments_pk PRIMARY KEY (assessment_id), 
	CONSTRAINT fk_assessments_trace_id FOREIGN KEY(trace_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE budget_policies (
	budget_policy_id VARCHAR(36) NOT NULL, 
	budget_unit VARCHAR(32) NOT NULL, 
	budget_amount FLOAT NOT NULL, 
	duration_unit VARCHAR(32) NOT NULL, 
	duration_value INTEGER NOT NULL, 
	target_scope VARCHAR(32) NOT NULL, 
	budget_action VARCHAR(32) NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, target_value VARCHAR(255), 
	CONSTRAINT budget_policies_pk PRIMARY KEY (budget_policy_id)
);
CREATE TABLE "datasets" (
	dataset_uuid VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	digest VARCHAR(36) NOT NULL, 
	dataset_source_type VARCHAR(36) NOT NULL, 
	dataset_source TEXT NOT NULL, 
	dataset_schema TEXT, 
	dataset_profile TEXT, 
	CONSTRAINT dataset_pk PRIMARY KEY (experiment_id, name, digest), 
	CONSTRAINT fk_datasets_experiment_id_experiments FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO "datasets" VALUES('a898fb83e83146b3805db3f92df6e560',1,'landslide4sense-train','fcc8f4e95a5a78229e0ab138dea01724','local','{"uri": "@FOLDER@/data"}',NULL,'{"patches": 8, "patches_without_landslide": 1, "landslide_share": 0.0355224609375}');
INSERT INTO "datasets" VALUES('58f26d82ad754b8ba576e6a0306e295a',1,'landslide4sense-validation','8f799a79f4c87f01e67d66d5b39d5696','local','{"uri": "@FOLDER@/data"}',NULL,'{"patches": 4, "patches_without_landslide": 0, "landslide_share": 0.04730224609375}');
CREATE TABLE endpoint_bindings (
	endpoint_id VARCHAR(36) NOT NULL, 
	resource_type VARCHAR(50) NOT NULL, 
	resource_id VARCHAR(255) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), display_name VARCHAR(255), 
	CONSTRAINT endpoint_bindings_pk PRIMARY KEY (endpoint_id, resource_type, resource_id), 
	CONSTRAINT fk_endpoint_bindings_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE
);
CREATE TABLE endpoint_model_mappings (
	mapping_id VARCHAR(36) NOT NULL, 
	endpoint_id VARCHAR(36) NOT NULL, 
	model_definition_id VARCHAR(36) NOT NULL, 
	weight FLOAT NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, linkage_type VARCHAR(64) DEFAULT 'PRIMARY' NOT NULL, fallback_order INTEGER, 
	CONSTRAINT endpoint_model_mappings_pk PRIMARY KEY (mapping_id), 
	CONSTRAINT fk_endpoint_model_mappings_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE, 
	CONSTRAINT fk_endpoint_model_mappings_model_definition_id FOREIGN KEY(model_definition_id) REFERENCES model_definitions (model_definition_id)
);
CREATE TABLE endpoint_tags (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	endpoint_id VARCHAR(36) NOT NULL, 
	CONSTRAINT endpoint_tag_pk PRIMARY KEY ("key", endpoint_id), 
	CONSTRAINT fk_endpoint_tags_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE
);
CREATE TABLE "endpoints" (
	endpoint_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255), 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	routing_strategy VARCHAR(64), 
	fallback_config_json TEXT, 
	experiment_id INTEGER, 
	usage_tracking BOOLEAN DEFAULT '0' NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT endpoints_pk PRIMARY KEY (endpoint_id), 
	CONSTRAINT fk_endpoints_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE SET NULL, 
	CONSTRAINT uq_endpoints_workspace_name UNIQUE (workspace, name)
);
CREATE TABLE entity_associations (
	association_id VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, 
	created_time BIGINT, 
	CONSTRAINT entity_associations_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
CREATE TABLE "evaluation_dataset_records" (
	dataset_record_id VARCHAR(36) NOT NULL, 
	dataset_id VARCHAR(36) NOT NULL, 
	inputs JSON NOT NULL, 
	expectations JSON, 
	tags JSON, 
	source JSON, 
	source_id VARCHAR(36), 
	source_type VARCHAR(255), 
	created_time BIGINT, 
	last_update_time BIGINT, 
	created_by VARCHAR(255), 
	last_updated_by VARCHAR(255), 
	input_hash VARCHAR(64) NOT NULL, outputs JSON, 
	CONSTRAINT evaluation_dataset_records_pk PRIMARY KEY (dataset_record_id), 
	CONSTRAINT fk_evaluation_dataset_records_dataset_id FOREIGN KEY(dataset_id) REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE, 
	CONSTRAINT unique_dataset_input UNIQUE (dataset_id, input_hash)
);
CREATE TABLE evaluation_dataset_tags (
	dataset_id VARCHAR(36) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT evaluation_dataset_tags_pk PRIMARY KEY (dataset_id, "key"), 
	CONSTRAINT fk_evaluation_dataset_tags_dataset_id FOREIGN KEY(dataset_id) REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE
);
CREATE TABLE "evaluation_datasets" (
	dataset_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	schema TEXT, 
	profile TEXT, 
	digest VARCHAR(64), 
	created_time BIGINT, 
	last_update_time BIGINT, 
	created_by VARCHAR(255), 
	last_updated_by VARCHAR(255), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT evaluation_datasets_pk PRIMARY KEY (dataset_id)
);
CREATE TABLE "experiment_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	experiment_id INTEGER NOT NULL, 
	CONSTRAINT experiment_tag_pk PRIMARY KEY ("key", experiment_id), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
INSERT INTO "experiment_tags" VALUES('mlflow.sharedViewState.d311d2106d68466ba2056600af97d7de','{"name": "tiny: which trial is better, and where", "createdAt": 1795640379834, "updatedAt": 1795640379834, "state": "deflate;eJzVV9tu2zgQ/RWtXvKwdla+1O0a2AfFdVKjTlI4LlqgCBJaHFtEKcogqSZCkH/vUNTNlt1kN0m3fYoyM+ScM3OGpO9cBUQG4THjGqQ7dDVZqcPriC95fHO4JhKEniViQq+df5wD2ut0aLfjDejgTX8wWJCu92ow8Dyy/Ps1fU3hwCGCOnYLriJ+KGMO184fuDSIxZLJ6AcREpZMN/xKE50HqGQNUgEFeuC23FhSkEfpe0gRdQRasgDXLEDpq2+EXy0711WQrwJ3uCRcQQv5cgg00FHMk0god/hl7+qmfS0hYIrFYrcbvYRz48PKkQhdWhImmFgdciyz+biShg9GNDhu2rK6uJctN8hwnhsivwnWT4zqEAt7twfssNP3HgC8L6QAbf0PAbdRTfANuyVgzPeGRGR0j6ofhURqo5A7N0kYRZ3dhCwI20f+rF1jZIqRrgHd6ChrfYEqQy6Tchl6ZCLUKE6EnscjmwWTIhSKmkRJlhpl6gQEGBKVze5q5b6ZnDK15iQ9IxFs+e5bW8ink7Nxexu1Mf4U2HsQl2bOBFxEcaxDAQrrjilu/VumLrDpMLdgTQyRGKx2GSURKzTc3ecrbV6lYe1Wk//ZeE5ruNCXVtEWcWEb36IslVGlEQJqnK1ELOE80ZzhaVTyTBSc8HhB+GdS7KRlUndMS3aoUOtt9Odi5M/n41nxt+pRZXiZNt0a1GZkv24KzA5cheN0PJ9NRigsN92zopzi5qL9cuQx9vv/EWSeuinJ3PHfRRmvfnNFgoT25NQ/yXrEKDF9+ItFZAVXnT8bpm7T1Gua+lWbs6339BlTP7HPWTpknd3wTfy4e5PBLmNvl7FvbrusiUYPKoxv8Lr4kF1HOYCNQqbtD/7Mn07H0/KjKkPNsqsS6RPrUGisQPfF3X1dZozyWCvFLLh+nVxaqj7nyFbtEEzafjs5Ph7Pxmejce2z4rphewm2gbmy8yHOGOMKqbJHpQpwSpSjQ6IdypZLMAObX/YnMk7WGd9qEXpPY8zp5M+Qgj6+CnCkj2UcHREsGM5QVWt0v822BhGAOhe8HLpFHmufnR9txeoX9JroIAS1d+AeMzf5Hi88Of9C+g+Q6v4qpLrPSKr3q5DqPSOpRx3bP4PUI07ey/obPsfXfMUjSmHPiU/mXwfJEO4w5SxA6+xsyJ8ExQQzNYPs96TBak3bdILiN2V3+x6tZ8N/HaarVEM8k8BR6HbyCjqL1IFvIFOL6mlYOvhNJH0HbBVqd/jG8zbP7Dq08mjMsN0ACIMtelYA/b7X1F0F4lzkZWg5nMjVUzuxlXzQ9Yw+mPIDvA4oKmNrq/vvgyHlXQ=="}',1);
CREATE TABLE "experiments" (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), 
	creation_time BIGINT, 
	last_update_time BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT uq_experiments_workspace_name UNIQUE (workspace, name)
);
INSERT INTO "experiments" VALUES(0,'Default','@FOLDER@/mlruns/0','active',1795640314577,1795640314577,'default');
INSERT INTO "experiments" VALUES(1,'lsml','@FOLDER@/mlruns/1','active',1795640314928,1795640314928,'default');
CREATE TABLE guardrail_configs (
	endpoint_id VARCHAR(36) NOT NULL, 
	guardrail_id VARCHAR(36) NOT NULL, 
	execution_order INTEGER, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT guardrail_configs_pk PRIMARY KEY (endpoint_id, guardrail_id), 
	CONSTRAINT fk_guardrail_configs_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE, 
	CONSTRAINT fk_guardrail_configs_guardrail_id FOREIGN KEY(guardrail_id) REFERENCES guardrails (guardrail_id) ON DELETE CASCADE
);
CREATE TABLE guardrails (
	guardrail_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	scorer_version INTEGER NOT NULL, 
	stage VARCHAR(32) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	action_endpoint_id VARCHAR(36), 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT guardrails_pk PRIMARY KEY (guardrail_id), 
	CONSTRAINT fk_guardrails_scorer_version FOREIGN KEY(scorer_id, scorer_version) REFERENCES scorer_versions (scorer_id, scorer_version), 
	CONSTRAINT fk_guardrails_action_endpoint_id FOREIGN KEY(action_endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE SET NULL
);
CREATE TABLE input_tags (
	input_uuid VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	value VARCHAR(500) NOT NULL, 
	CONSTRAINT input_tags_pk PRIMARY KEY (input_uuid, name)
);
INSERT INTO "input_tags" VALUES('c6d4c67f5d7c476c9a27bd2231e751c6','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('929d6cca1b1b45e79cca811a022a6cfd','mlflow.data.context','validation');
INSERT INTO "input_tags" VALUES('1165ebda40a043b0bab9c7fb896c226c','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('63100a2270f246f391f00939d5ee7ff0','mlflow.data.context','validation');
INSERT INTO "input_tags" VALUES('0406fc82f8ba48b59481e64cda87fbc1','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('edc583a169984247a1c56943c1c2c11f','mlflow.data.context','validation');
INSERT INTO "input_tags" VALUES('32ee1c5214814c2193b79edf3fb77041','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('f3c8a61ec313457ab4732b8188930b64','mlflow.data.context','validation');
INSERT INTO "input_tags" VALUES('59e43740bad34f1abb5fa5fd9ae55de6','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('855f66e6b4bd4b958162f6e2decd3cef','mlflow.data.context','validation');
INSERT INTO "input_tags" VALUES('159aa058008749d78dabab2fa421b57d','mlflow.data.context','training');
INSERT INTO "input_tags" VALUES('96936186245642998684e4dab040629d','mlflow.data.context','validation');
CREATE TABLE inputs (
	input_uuid VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT inputs_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
INSERT INTO "inputs" VALUES('c6d4c67f5d7c476c9a27bd2231e751c6','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','d311d2106d68466ba2056600af97d7de',0);
INSERT INTO "inputs" VALUES('929d6cca1b1b45e79cca811a022a6cfd','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','d311d2106d68466ba2056600af97d7de',0);
INSERT INTO "inputs" VALUES('1165ebda40a043b0bab9c7fb896c226c','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','88ed3d3fc2ff4842aee41bd08420dd7e',0);
INSERT INTO "inputs" VALUES('63100a2270f246f391f00939d5ee7ff0','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','88ed3d3fc2ff4842aee41bd08420dd7e',0);
INSERT INTO "inputs" VALUES('4c42c7bc8a0f47c7a0a5ca87ee06ae9d','RUN_OUTPUT','88ed3d3fc2ff4842aee41bd08420dd7e','MODEL_OUTPUT','m-3a9aff74c7e84fdda0150ef85f6598b1',0);
INSERT INTO "inputs" VALUES('0406fc82f8ba48b59481e64cda87fbc1','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','7ea8e654bfe449bebba66065b6d90973',0);
INSERT INTO "inputs" VALUES('edc583a169984247a1c56943c1c2c11f','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','7ea8e654bfe449bebba66065b6d90973',0);
INSERT INTO "inputs" VALUES('5fe11cb97ded4278ab01897635362590','RUN_OUTPUT','7ea8e654bfe449bebba66065b6d90973','MODEL_OUTPUT','m-a6d37411e7dd4d6d8ef16d85aaf62483',0);
INSERT INTO "inputs" VALUES('32ee1c5214814c2193b79edf3fb77041','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','2db34d238ba449329b70e349e0cb08f7',0);
INSERT INTO "inputs" VALUES('f3c8a61ec313457ab4732b8188930b64','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','2db34d238ba449329b70e349e0cb08f7',0);
INSERT INTO "inputs" VALUES('59e43740bad34f1abb5fa5fd9ae55de6','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','058d908d785748dd984c2043df6e1fd0',0);
INSERT INTO "inputs" VALUES('855f66e6b4bd4b958162f6e2decd3cef','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','058d908d785748dd984c2043df6e1fd0',0);
INSERT INTO "inputs" VALUES('159aa058008749d78dabab2fa421b57d','DATASET','a898fb83e83146b3805db3f92df6e560','RUN','f50fe77415d44db98ad80681b8369d60',0);
INSERT INTO "inputs" VALUES('96936186245642998684e4dab040629d','DATASET','58f26d82ad754b8ba576e6a0306e295a','RUN','f50fe77415d44db98ad80681b8369d60',0);
CREATE TABLE issues (
	issue_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	description TEXT NOT NULL, 
	status VARCHAR(50) NOT NULL, 
	severity VARCHAR(50), 
	root_causes TEXT, 
	source_run_id VARCHAR(32), 
	categories TEXT, 
	created_timestamp BIGINT NOT NULL, 
	last_updated_timestamp BIGINT NOT NULL, 
	created_by VARCHAR(255), 
	CONSTRAINT issues_pk PRIMARY KEY (issue_id), 
	CONSTRAINT fk_issues_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT fk_issues_source_run_id FOREIGN KEY(source_run_id) REFERENCES runs (run_uuid) ON DELETE SET NULL
);
CREATE TABLE job_locks (
	lock_key VARCHAR(255) NOT NULL, 
	job_id VARCHAR(36) NOT NULL, 
	acquired_at BIGINT NOT NULL, 
	CONSTRAINT job_locks_pk PRIMARY KEY (lock_key), 
	CONSTRAINT fk_job_locks_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE "jobs" (
	id VARCHAR(36) NOT NULL, 
	creation_time BIGINT NOT NULL, 
	job_name VARCHAR(500) NOT NULL, 
	params TEXT NOT NULL, 
	timeout FLOAT, 
	status INTEGER NOT NULL, 
	result TEXT, 
	retry_count INTEGER NOT NULL, 
	last_update_time BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, status_details JSON, creator VARCHAR(255), executor_backend VARCHAR(255), lease_expires_at BIGINT, status_message TEXT, progress JSON, progress_updated_at BIGINT, token_hash VARCHAR(64), scoped_permissions JSON, next_attempt_at BIGINT, 
	CONSTRAINT jobs_pk PRIMARY KEY (id)
);
CREATE TABLE label_schemas (
	schema_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	instruction TEXT, 
	enable_comment BOOLEAN DEFAULT '0' NOT NULL, 
	input_type VARCHAR(32) NOT NULL, 
	input_config TEXT NOT NULL, 
	created_by VARCHAR(255), 
	created_time BIGINT NOT NULL, 
	last_update_time BIGINT NOT NULL, 
	is_default BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT label_schemas_pk PRIMARY KEY (schema_id), 
	CONSTRAINT fk_label_schemas_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT uq_label_schemas_exp_name UNIQUE (experiment_id, name)
);
CREATE TABLE "latest_metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT, 
	step BIGINT NOT NULL, 
	is_nan BOOLEAN NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT latest_metric_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "latest_metrics" VALUES('val_f1',1.40881070515711914747e-01,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('loss',1.03238809108734130859e+00,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_loss',1.33520305156707763671e+00,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_iou',7.57784067933683774809e-02,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_precision',9.18447363262105409553e-02,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_recall',0.302258064516129,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_average_precision',7.81035719169054926114e-02,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_calibration_error',7.05841241212510794866e-01,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_threshold',9.32137727737426757812e-01,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('learning_rate',1.00000006568734534084e-05,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('epoch_seconds',6.51475277999907120829e-01,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('images_per_second',1.72816454698018517888e+01,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('system/process_cpu_percentage',31.7,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('system/process_memory_megabytes',1015.988224,1795640356471,2,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_loss',1.33520305156707763671e+00,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_f1',1.40881070515711914747e-01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_iou',7.57784067933683774809e-02,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_precision',9.18447363262105409553e-02,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_recall',0.302258064516129,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_average_precision',7.81035719169054926114e-02,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_calibration_error',7.05841241212510794866e-01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_threshold',9.32137727737426757812e-01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_temperature',4.99998288407905100427e+00,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_scaled_calibration_error',5.25521215221033344278e-01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_object_hit_rate',1.76470588235294129075e-01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_val_object_precision',9.91957104557640717557e-02,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('best_epoch',2.0,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('epochs',2.0,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('parameters',2209.0,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('latency_ms',4.02583089999097865074e+01,1795640360736,0,0,'88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "latest_metrics" VALUES('val_f1',1.01130424212957328866e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('loss',8.58859270811080932617e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_loss',8.42692613601684570312e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_iou',5.32582255793112302466e-02,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_precision',6.23034296839898166231e-02,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_recall',2.68387096774193534276e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_average_precision',5.29699249097180593914e-02,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_calibration_error',4.69675227237871695251e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_threshold',5.34942924976348876953e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('learning_rate',3.13588816425181e-06,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('epoch_seconds',1.74031744000330945709e-01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('images_per_second',5.4911235507293021385e+01,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('system/process_cpu_percentage',130.2,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('system/process_memory_megabytes',1044.04992,1795640365100,2,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_loss',8.42692613601684570312e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_f1',1.01130424212957328866e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_iou',5.32582255793112302466e-02,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_precision',6.23034296839898166231e-02,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_recall',2.68387096774193534276e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_average_precision',5.29699249097180593914e-02,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_calibration_error',4.69675227237871695251e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_threshold',5.34942924976348876953e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_temperature',4.99998060455910664501e+00,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_scaled_calibration_error',0.456128100947808,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_object_hit_rate',1.76470588235294129075e-01,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_val_object_precision',6.12772240679217428116e-02,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('best_epoch',2.0,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('epochs',2.0,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('parameters',2209.0,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('latency_ms',6.2320460001501487568e+00,1795640366152,0,0,'7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "latest_metrics" VALUES('val_f1',5.53806553806553858443e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_iou',3.82940854326396518114e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_precision',3.99514355092129680446e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_recall',0.902258064516129,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_average_precision',3.82995434432054082662e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_calibration_error',2.21945450670822663763e-02,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_threshold',1.24553360044956207275e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('fit_seconds',2.45652249000158917624e-01,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('system/process_cpu_percentage',92.4,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('system/process_memory_megabytes',1075.122176,1795640366942,1,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_f1',5.53806553806553858443e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_iou',3.82940854326396518114e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_precision',3.99514355092129680446e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_recall',0.902258064516129,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_average_precision',3.82995434432054082662e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_calibration_error',2.21945450670822663763e-02,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_threshold',1.24553360044956207275e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_object_hit_rate',9.41176470588235281056e-01,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_val_object_precision',0.0891089108910891,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('best_epoch',1.0,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('fits',1.0,1795640367518,0,0,'2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "latest_metrics" VALUES('val_f1',4.65211217607383764605e-01,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_iou',3.03110905516364048661e-01,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_precision',3.20886385896180237331e-01,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_recall',8.45483870967741912849e-01,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_average_precision',3.69761351807293359161e-01,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_calibration_error',4.04986942342890759993e-02,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_threshold',2.02329978346824645996e-02,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('fit_seconds',1.19599377200029266532e+00,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('system/process_cpu_percentage',101.5,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('system/process_memory_megabytes',1094.06208,1795640369166,1,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_f1',4.65211217607383764605e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_iou',3.03110905516364048661e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_precision',3.20886385896180237331e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_recall',8.45483870967741912849e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_average_precision',3.69761351807293359161e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_calibration_error',4.04986942342890759993e-02,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_threshold',2.02329978346824645996e-02,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_object_hit_rate',9.41176470588235281056e-01,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_val_object_precision',0.0860655737704918,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('best_epoch',1.0,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('fits',1.0,1795640370719,0,0,'058d908d785748dd984c2043df6e1fd0');
INSERT INTO "latest_metrics" VALUES('val_f1',5.48274770496992691626e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_iou',3.77671173135630200423e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_precision',4.07401599498196653748e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_recall',8.38064516129032210933e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_average_precision',4.28534949971110634692e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_calibration_error',2.06026374253212907206e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('val_threshold',4.75020825862884521484e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('fit_seconds',5.4075656099985280889e-01,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('system/process_cpu_percentage',11.9,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('system/process_memory_megabytes',1092.431872,1795640372571,1,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_f1',5.48274770496992691626e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_iou',3.77671173135630200423e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_precision',4.07401599498196653748e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_recall',8.38064516129032210933e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_average_precision',4.28534949971110634692e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_calibration_error',2.06026374253212907206e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_threshold',4.75020825862884521484e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_object_hit_rate',1.0,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_object_precision',1.05882352941176469118e-01,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_epoch',1.0,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('fits',1.0,1795640375521,0,0,'f50fe77415d44db98ad80681b8369d60');
INSERT INTO "latest_metrics" VALUES('best_val_f1',1.40881070515711914747e-01,1795640380902,0,0,'d311d2106d68466ba2056600af97d7de');
INSERT INTO "latest_metrics" VALUES('trials_complete',2.0,1795640380902,0,0,'d311d2106d68466ba2056600af97d7de');
INSERT INTO "latest_metrics" VALUES('trials_pruned',0.0,1795640380902,0,0,'d311d2106d68466ba2056600af97d7de');
INSERT INTO "latest_metrics" VALUES('trials_failed',0.0,1795640380902,0,0,'d311d2106d68466ba2056600af97d7de');
CREATE TABLE logged_model_metrics (
	model_id VARCHAR(36) NOT NULL, 
	metric_name VARCHAR(500) NOT NULL, 
	metric_timestamp_ms BIGINT NOT NULL, 
	metric_step BIGINT NOT NULL, 
	metric_value FLOAT, 
	experiment_id INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	dataset_uuid VARCHAR(36), 
	dataset_name VARCHAR(500), 
	dataset_digest VARCHAR(36), 
	CONSTRAINT logged_model_metrics_pk PRIMARY KEY (model_id, metric_name, metric_timestamp_ms, metric_step, run_id), 
	CONSTRAINT fk_logged_model_metrics_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_metrics_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE, 
	CONSTRAINT fk_logged_model_metrics_run_id FOREIGN KEY(run_id) REFERENCES runs (run_uuid) ON DELETE CASCADE
);
CREATE TABLE logged_model_params (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	param_key VARCHAR(255) NOT NULL, 
	param_value TEXT NOT NULL, 
	CONSTRAINT logged_model_params_pk PRIMARY KEY (model_id, param_key), 
	CONSTRAINT fk_logged_model_params_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_params_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
CREATE TABLE logged_model_tags (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	tag_key VARCHAR(255) NOT NULL, 
	tag_value TEXT NOT NULL, 
	CONSTRAINT logged_model_tags_pk PRIMARY KEY (model_id, tag_key), 
	CONSTRAINT fk_logged_model_tags_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_tags_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
CREATE TABLE logged_models (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	artifact_location VARCHAR(1000) NOT NULL, 
	creation_timestamp_ms BIGINT NOT NULL, 
	last_updated_timestamp_ms BIGINT NOT NULL, 
	status INTEGER NOT NULL, 
	lifecycle_stage VARCHAR(32), 
	model_type VARCHAR(500), 
	source_run_id VARCHAR(32), 
	status_message VARCHAR(1000), 
	CONSTRAINT logged_models_pk PRIMARY KEY (model_id), 
	CONSTRAINT logged_models_lifecycle_stage_check CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO "logged_models" VALUES('m-3a9aff74c7e84fdda0150ef85f6598b1',1,'model','@FOLDER@/mlruns/1/models/m-3a9aff74c7e84fdda0150ef85f6598b1/artifacts',1795640361614,1795640361702,2,'active',NULL,'88ed3d3fc2ff4842aee41bd08420dd7e',NULL);
INSERT INTO "logged_models" VALUES('m-a6d37411e7dd4d6d8ef16d85aaf62483',1,'model','@FOLDER@/mlruns/1/models/m-a6d37411e7dd4d6d8ef16d85aaf62483/artifacts',1795640366339,1795640366351,2,'active',NULL,'7ea8e654bfe449bebba66065b6d90973',NULL);
CREATE TABLE mcp_access_endpoints (
	id VARCHAR(36) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	server_name VARCHAR(256) NOT NULL, 
	server_version VARCHAR(128), 
	server_alias VARCHAR(256), 
	url VARCHAR(2048) NOT NULL, 
	transport_type VARCHAR(32) DEFAULT 'streamable-http' NOT NULL, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_access_endpoints_pk PRIMARY KEY (id), 
	CONSTRAINT mcp_access_endpoints_server_fkey FOREIGN KEY(workspace, server_name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_aliases (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	alias VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	CONSTRAINT mcp_server_aliases_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT mcp_server_aliases_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_tags (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT mcp_server_tags_pk PRIMARY KEY (workspace, name, "key"), 
	CONSTRAINT mcp_server_tags_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_version_tags (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT mcp_server_version_tags_pk PRIMARY KEY (workspace, name, version, "key"), 
	CONSTRAINT mcp_server_version_tags_version_fkey FOREIGN KEY(workspace, name, version) REFERENCES mcp_server_versions (workspace, name, version) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_versions (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	version_major INTEGER NOT NULL, 
	version_minor INTEGER NOT NULL, 
	version_patch INTEGER NOT NULL, 
	version_prerelease_sort_key VARCHAR(512) NOT NULL, 
	server_json JSON NOT NULL, 
	status VARCHAR(20) DEFAULT 'draft' NOT NULL, 
	tools JSON, 
	source VARCHAR(512), 
	connect_options JSON, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_server_versions_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT mcp_server_versions_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_servers (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	display_name VARCHAR(256), 
	description TEXT, 
	icons JSON, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_servers_pk PRIMARY KEY (workspace, name)
);
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('val_f1',1.36693495184061208913e-01,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('loss',1.04886651039123535156e+00,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_loss',1.45802271366119384765e+00,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_iou',7.33607137799178604664e-02,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_precision',8.59180626969646699109e-02,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_recall',3.34193548387096750484e-01,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_average_precision',7.44033040201172723993e-02,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_calibration_error',7.41744614880644803633e-01,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_threshold',9.45833325386047363281e-01,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('learning_rate',7.52500025555491447448e-04,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('epoch_seconds',8.52841818500019144266e+00,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('images_per_second',9.67308025832251061615e-01,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',21.4,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1013.551104,1795640355667,'88ed3d3fc2ff4842aee41bd08420dd7e',1,0);
INSERT INTO "metrics" VALUES('val_f1',1.40881070515711914747e-01,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('loss',1.03238809108734130859e+00,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_loss',1.33520305156707763671e+00,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_iou',7.57784067933683774809e-02,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_precision',9.18447363262105409553e-02,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_recall',0.302258064516129,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_average_precision',7.81035719169054926114e-02,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_calibration_error',7.05841241212510794866e-01,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('val_threshold',9.32137727737426757812e-01,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('learning_rate',1.00000006568734534084e-05,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('epoch_seconds',6.51475277999907120829e-01,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('images_per_second',1.72816454698018517888e+01,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',31.7,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1015.988224,1795640356471,'88ed3d3fc2ff4842aee41bd08420dd7e',2,0);
INSERT INTO "metrics" VALUES('best_val_loss',1.33520305156707763671e+00,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_f1',1.40881070515711914747e-01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_iou',7.57784067933683774809e-02,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_precision',9.18447363262105409553e-02,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_recall',0.302258064516129,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_average_precision',7.81035719169054926114e-02,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_calibration_error',7.05841241212510794866e-01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_threshold',9.32137727737426757812e-01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_temperature',4.99998288407905100427e+00,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_scaled_calibration_error',5.25521215221033344278e-01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_object_hit_rate',1.76470588235294129075e-01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_val_object_precision',9.91957104557640717557e-02,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('best_epoch',2.0,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('epochs',2.0,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('parameters',2209.0,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('latency_ms',4.02583089999097865074e+01,1795640360736,'88ed3d3fc2ff4842aee41bd08420dd7e',0,0);
INSERT INTO "metrics" VALUES('val_f1',1.00566204353020619e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('loss',8.62137526273727416992e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_loss',8.54835987091064453125e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_iou',5.2945359076737953663e-02,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_precision',5.99343693888923292889e-02,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_recall',3.12258064516129030252e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_average_precision',0.0531952252986221,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_calibration_error',4.81792077970453647139e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_threshold',5.4735761880874633789e-01,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('learning_rate',2.35975589021109044551e-04,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('epoch_seconds',1.63050625400001081288e+00,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('images_per_second',5.55719161592202848254e+00,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',89.5,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1043.959808,1795640364909,'7ea8e654bfe449bebba66065b6d90973',1,0);
INSERT INTO "metrics" VALUES('val_f1',1.01130424212957328866e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('loss',8.58859270811080932617e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_loss',8.42692613601684570312e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_iou',5.32582255793112302466e-02,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_precision',6.23034296839898166231e-02,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_recall',2.68387096774193534276e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_average_precision',5.29699249097180593914e-02,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_calibration_error',4.69675227237871695251e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('val_threshold',5.34942924976348876953e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('learning_rate',3.13588816425181e-06,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('epoch_seconds',1.74031744000330945709e-01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('images_per_second',5.4911235507293021385e+01,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',130.2,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1044.04992,1795640365100,'7ea8e654bfe449bebba66065b6d90973',2,0);
INSERT INTO "metrics" VALUES('best_val_loss',8.42692613601684570312e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_f1',1.01130424212957328866e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_iou',5.32582255793112302466e-02,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_precision',6.23034296839898166231e-02,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_recall',2.68387096774193534276e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_average_precision',5.29699249097180593914e-02,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_calibration_error',4.69675227237871695251e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_threshold',5.34942924976348876953e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_temperature',4.99998060455910664501e+00,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_scaled_calibration_error',0.456128100947808,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_object_hit_rate',1.76470588235294129075e-01,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_val_object_precision',6.12772240679217428116e-02,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('best_epoch',2.0,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('epochs',2.0,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('parameters',2209.0,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('latency_ms',6.2320460001501487568e+00,1795640366152,'7ea8e654bfe449bebba66065b6d90973',0,0);
INSERT INTO "metrics" VALUES('val_f1',5.53806553806553858443e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_iou',3.82940854326396518114e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_precision',3.99514355092129680446e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_recall',0.902258064516129,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_average_precision',3.82995434432054082662e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_calibration_error',2.21945450670822663763e-02,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('val_threshold',1.24553360044956207275e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('fit_seconds',2.45652249000158917624e-01,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',92.4,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1075.122176,1795640366942,'2db34d238ba449329b70e349e0cb08f7',1,0);
INSERT INTO "metrics" VALUES('best_val_f1',5.53806553806553858443e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_iou',3.82940854326396518114e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_precision',3.99514355092129680446e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_recall',0.902258064516129,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_average_precision',3.82995434432054082662e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_calibration_error',2.21945450670822663763e-02,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_threshold',1.24553360044956207275e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_object_hit_rate',9.41176470588235281056e-01,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_val_object_precision',0.0891089108910891,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('best_epoch',1.0,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('fits',1.0,1795640367518,'2db34d238ba449329b70e349e0cb08f7',0,0);
INSERT INTO "metrics" VALUES('val_f1',4.65211217607383764605e-01,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_iou',3.03110905516364048661e-01,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_precision',3.20886385896180237331e-01,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_recall',8.45483870967741912849e-01,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_average_precision',3.69761351807293359161e-01,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_calibration_error',4.04986942342890759993e-02,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('val_threshold',2.02329978346824645996e-02,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('fit_seconds',1.19599377200029266532e+00,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',101.5,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1094.06208,1795640369166,'058d908d785748dd984c2043df6e1fd0',1,0);
INSERT INTO "metrics" VALUES('best_val_f1',4.65211217607383764605e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_iou',3.03110905516364048661e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_precision',3.20886385896180237331e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_recall',8.45483870967741912849e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_average_precision',3.69761351807293359161e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_calibration_error',4.04986942342890759993e-02,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_threshold',2.02329978346824645996e-02,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_object_hit_rate',9.41176470588235281056e-01,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_val_object_precision',0.0860655737704918,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('best_epoch',1.0,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('fits',1.0,1795640370719,'058d908d785748dd984c2043df6e1fd0',0,0);
INSERT INTO "metrics" VALUES('val_f1',5.48274770496992691626e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_iou',3.77671173135630200423e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_precision',4.07401599498196653748e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_recall',8.38064516129032210933e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_average_precision',4.28534949971110634692e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_calibration_error',2.06026374253212907206e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('val_threshold',4.75020825862884521484e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('fit_seconds',5.4075656099985280889e-01,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('system/process_cpu_percentage',11.9,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('system/process_memory_megabytes',1092.431872,1795640372571,'f50fe77415d44db98ad80681b8369d60',1,0);
INSERT INTO "metrics" VALUES('best_val_f1',5.48274770496992691626e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_iou',3.77671173135630200423e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_precision',4.07401599498196653748e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_recall',8.38064516129032210933e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_average_precision',4.28534949971110634692e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_calibration_error',2.06026374253212907206e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_threshold',4.75020825862884521484e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_object_hit_rate',1.0,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_object_precision',1.05882352941176469118e-01,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_epoch',1.0,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('fits',1.0,1795640375521,'f50fe77415d44db98ad80681b8369d60',0,0);
INSERT INTO "metrics" VALUES('best_val_f1',1.40881070515711914747e-01,1795640380902,'d311d2106d68466ba2056600af97d7de',0,0);
INSERT INTO "metrics" VALUES('trials_complete',2.0,1795640380902,'d311d2106d68466ba2056600af97d7de',0,0);
INSERT INTO "metrics" VALUES('trials_pruned',0.0,1795640380902,'d311d2106d68466ba2056600af97d7de',0,0);
INSERT INTO "metrics" VALUES('trials_failed',0.0,1795640380902,'d311d2106d68466ba2056600af97d7de',0,0);
CREATE TABLE "model_definitions" (
	model_definition_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	secret_id VARCHAR(36), 
	provider VARCHAR(64) NOT NULL, 
	model_name VARCHAR(256) NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_definitions_pk PRIMARY KEY (model_definition_id), 
	CONSTRAINT fk_model_definitions_secret_id FOREIGN KEY(secret_id) REFERENCES secrets (secret_id) ON DELETE SET NULL, 
	CONSTRAINT uq_model_definitions_workspace_name UNIQUE (workspace, name)
);
CREATE TABLE "model_version_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_tag_pk PRIMARY KEY (workspace, "key", name, version), 
	CONSTRAINT fk_model_version_tags_model_versions FOREIGN KEY(workspace, name, version) REFERENCES model_versions (workspace, name, version) ON UPDATE CASCADE
);
INSERT INTO "model_version_tags" VALUES('lsml.study','tiny','tiny',1,'default');
INSERT INTO "model_version_tags" VALUES('lsml.study_run_id','d311d2106d68466ba2056600af97d7de','tiny',1,'default');
INSERT INTO "model_version_tags" VALUES('best_val_f1','0.140881','tiny',1,'default');
CREATE TABLE "model_versions" (
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	user_id VARCHAR(256), 
	current_stage VARCHAR(20), 
	source VARCHAR(500), 
	run_id VARCHAR(32), 
	status VARCHAR(20), 
	status_message VARCHAR(500), 
	run_link VARCHAR(500), 
	storage_location VARCHAR(500), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT fk_model_versions_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO "model_versions" VALUES('tiny',1,1795640379206,1795640379206,NULL,NULL,'None','@FOLDER@/mlruns/1/models/m-3a9aff74c7e84fdda0150ef85f6598b1/artifacts','88ed3d3fc2ff4842aee41bd08420dd7e','READY',NULL,NULL,'@FOLDER@/mlruns/1/models/m-3a9aff74c7e84fdda0150ef85f6598b1/artifacts','default');
CREATE TABLE online_scoring_configs (
	online_scoring_config_id VARCHAR(36) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	sample_rate FLOAT NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	filter_string TEXT, 
	CONSTRAINT online_scoring_config_pk PRIMARY KEY (online_scoring_config_id), 
	CONSTRAINT fk_online_scoring_configs_scorer_id FOREIGN KEY(scorer_id) REFERENCES scorers (scorer_id) ON DELETE CASCADE, 
	CONSTRAINT fk_online_scoring_configs_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('study.name','tiny','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.experiment','tiny','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.trials','2','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.workers','1','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.seed','0','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.max_retries','2','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.confirm','0','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.engine','optuna','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.sampler','tpe','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.sampler.startup_trials','10','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.sampler.candidates','24','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.pruner','none','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('study.searched','training.learning_rate','d311d2106d68466ba2056600af97d7de');
INSERT INTO "params" VALUES('seed','821328062','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.features','bands','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.scaling','standard','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.clip_percentile','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.visible','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.red_edge','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.near_infrared','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.short_wave_infrared','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.atmospheric','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.terrain','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('input.indices','none','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.architecture','unet','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.encoder','resnet18','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.weights','none','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.stem','inflate','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.filters','4','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.depth','1','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.dropout','0.1','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.dropout_rise','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.dropout_unit','channel','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.normalization','batch','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.upsampling','transposed','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.attention','none','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.members','1','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.pixel_share','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('model.deep_supervision','False','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.cross_entropy','0.5','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.focal','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.dice','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.tversky','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.jaccard','0.5','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.lovasz','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.focal_tversky','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.landslide_weight','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.hardest_share','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.focal_gamma','2.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.focal_alpha','0.5','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.tversky_alpha','0.3','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.tversky_beta','0.7','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('loss.focal_tversky_gamma','1.3333333333333333','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.strength','0.5','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.flips','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.rotation','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.crop','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.elastic','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.light','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.gain','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.noise','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.dropout','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.mixup','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('augment.cutmix','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.epochs','2','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.steps_per_epoch','0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.landslide_share','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.batch_size','4','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.learning_rate','0.001','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.schedule','cosine','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.weight_decay','0.0001','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.gradient_clipping','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.weight_averaging','0.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.freeze_epochs','0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.encoder_learning_rate_share','1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.patience','20','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.precision','auto','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('training.xla','auto','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "params" VALUES('seed','1817441348','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.features','bands','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.scaling','standard','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.clip_percentile','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.visible','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.red_edge','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.near_infrared','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.short_wave_infrared','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.atmospheric','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.terrain','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('input.indices','none','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.architecture','unet','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.encoder','resnet18','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.weights','none','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.stem','inflate','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.filters','4','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.depth','1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.dropout','0.1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.dropout_rise','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.dropout_unit','channel','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.normalization','batch','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.upsampling','transposed','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.attention','none','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.members','1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.pixel_share','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('model.deep_supervision','False','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.cross_entropy','0.5','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.focal','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.dice','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.tversky','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.jaccard','0.5','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.lovasz','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.focal_tversky','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.landslide_weight','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.hardest_share','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.focal_gamma','2.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.focal_alpha','0.5','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.tversky_alpha','0.3','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.tversky_beta','0.7','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('loss.focal_tversky_gamma','1.3333333333333333','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.strength','0.5','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.flips','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.rotation','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.crop','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.elastic','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.light','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.gain','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.noise','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.dropout','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.mixup','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('augment.cutmix','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.epochs','2','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.steps_per_epoch','0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.landslide_share','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.batch_size','4','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.learning_rate','0.00031358883815898363','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.schedule','cosine','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.weight_decay','0.0001','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.gradient_clipping','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.weight_averaging','0.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.freeze_epochs','0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.encoder_learning_rate_share','1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.patience','20','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.precision','auto','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('training.xla','auto','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "params" VALUES('baseline','logistic regression on single pixels','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "params" VALUES('baseline','gradient boosting on single pixels','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "params" VALUES('baseline','NDVI and slope threshold','f50fe77415d44db98ad80681b8369d60');
CREATE TABLE "registered_model_aliases" (
	alias VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_alias_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT fk_registered_model_aliases_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO "registered_model_aliases" VALUES('candidate',1,'tiny','default');
CREATE TABLE "registered_model_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_tag_pk PRIMARY KEY (workspace, "key", name), 
	CONSTRAINT fk_registered_model_tags_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
CREATE TABLE "registered_models" (
	name VARCHAR(256) NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_pk PRIMARY KEY (workspace, name)
);
INSERT INTO "registered_models" VALUES('tiny',1795640378948,1795640379206,NULL,'default');
CREATE TABLE review_queue_items (
	queue_id VARCHAR(36) NOT NULL, 
	item_type VARCHAR(16) NOT NULL, 
	item_id VARCHAR(50) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	completed_by VARCHAR(250), 
	completed_time_ms BIGINT, 
	creation_time_ms BIGINT NOT NULL, 
	last_update_time_ms BIGINT NOT NULL, 
	CONSTRAINT review_queue_items_pk PRIMARY KEY (queue_id, item_id), 
	CONSTRAINT fk_review_queue_items_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queue_label_schemas (
	queue_id VARCHAR(36) NOT NULL, 
	schema_id VARCHAR(36) NOT NULL, 
	CONSTRAINT review_queue_label_schemas_pk PRIMARY KEY (queue_id, schema_id), 
	CONSTRAINT fk_review_queue_label_schemas_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queue_users (
	queue_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(250) NOT NULL, 
	CONSTRAINT review_queue_users_pk PRIMARY KEY (queue_id, user_id), 
	CONSTRAINT fk_review_queue_users_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queues (
	queue_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	queue_type VARCHAR(16) NOT NULL, 
	created_by VARCHAR(255), 
	creation_time_ms BIGINT NOT NULL, 
	last_update_time_ms BIGINT NOT NULL, 
	name_key VARCHAR(250) NOT NULL, 
	CONSTRAINT review_queues_pk PRIMARY KEY (queue_id), 
	CONSTRAINT fk_review_queues_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT uq_review_queues_experiment_name_key UNIQUE (experiment_id, name_key)
);
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('d311d2106d68466ba2056600af97d7de','tiny','UNKNOWN','','','root','FINISHED',1795640314973,1795640382479,'','active','@FOLDER@/mlruns/1/d311d2106d68466ba2056600af97d7de/artifacts',1,NULL);
INSERT INTO "runs" VALUES('88ed3d3fc2ff4842aee41bd08420dd7e','tiny-000','UNKNOWN','','','root','FINISHED',1795640315730,1795640361962,'','active','@FOLDER@/mlruns/1/88ed3d3fc2ff4842aee41bd08420dd7e/artifacts',1,NULL);
INSERT INTO "runs" VALUES('7ea8e654bfe449bebba66065b6d90973','tiny-001','UNKNOWN','','','root','FINISHED',1795640361996,1795640366377,'','active','@FOLDER@/mlruns/1/7ea8e654bfe449bebba66065b6d90973/artifacts',1,NULL);
INSERT INTO "runs" VALUES('2db34d238ba449329b70e349e0cb08f7','tiny-baseline-logistic-regression-on-single-pixels','UNKNOWN','','','root','FINISHED',1795640366467,1795640367709,'','active','@FOLDER@/mlruns/1/2db34d238ba449329b70e349e0cb08f7/artifacts',1,NULL);
INSERT INTO "runs" VALUES('058d908d785748dd984c2043df6e1fd0','tiny-baseline-gradient-boosting-on-single-pixels','UNKNOWN','','','root','FINISHED',1795640367731,1795640371148,'','active','@FOLDER@/mlruns/1/058d908d785748dd984c2043df6e1fd0/artifacts',1,NULL);
INSERT INTO "runs" VALUES('f50fe77415d44db98ad80681b8369d60','tiny-baseline-NDVI-and-slope-threshold','UNKNOWN','','','root','FINISHED',1795640371507,1795640375984,'','active','@FOLDER@/mlruns/1/f50fe77415d44db98ad80681b8369d60/artifacts',1,NULL);
CREATE TABLE scheduler_leases (
	lease_key VARCHAR(255) NOT NULL, 
	acquired_at BIGINT NOT NULL, 
	ttl_seconds INTEGER NOT NULL, 
	CONSTRAINT scheduler_leases_pk PRIMARY KEY (lease_key)
);
CREATE TABLE scorer_versions (
	scorer_id VARCHAR(36) NOT NULL, 
	scorer_version INTEGER NOT NULL, 
	serialized_scorer TEXT NOT NULL, 
	creation_time BIGINT, 
	CONSTRAINT scorer_version_pk PRIMARY KEY (scorer_id, scorer_version), 
	CONSTRAINT fk_scorer_versions_scorer_id FOREIGN KEY(scorer_id) REFERENCES scorers (scorer_id) ON DELETE CASCADE
);
CREATE TABLE scorers (
	experiment_id INTEGER NOT NULL, 
	scorer_name VARCHAR(256) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	CONSTRAINT scorer_pk PRIMARY KEY (scorer_id), 
	CONSTRAINT fk_scorers_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE "secrets" (
	secret_id VARCHAR(36) NOT NULL, 
	secret_name VARCHAR(255) NOT NULL, 
	encrypted_value BLOB NOT NULL, 
	wrapped_dek BLOB NOT NULL, 
	kek_version INTEGER NOT NULL, 
	masked_value VARCHAR(500) NOT NULL, 
	provider VARCHAR(64), 
	auth_config TEXT, 
	description TEXT, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT secrets_pk PRIMARY KEY (secret_id), 
	CONSTRAINT uq_secrets_workspace_secret_name UNIQUE (workspace, secret_name)
);
CREATE TABLE span_metrics (
	trace_id VARCHAR(50) NOT NULL, 
	span_id VARCHAR(50) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT, 
	CONSTRAINT span_metrics_pk PRIMARY KEY (trace_id, span_id, "key"), 
	CONSTRAINT fk_span_metrics_span FOREIGN KEY(trace_id, span_id) REFERENCES spans (trace_id, span_id) ON DELETE CASCADE
);
CREATE TABLE "spans" (
	trace_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	span_id VARCHAR(50) NOT NULL, 
	parent_span_id VARCHAR(50), 
	name TEXT, 
	type VARCHAR(500), 
	status VARCHAR(50) NOT NULL, 
	start_time_unix_nano BIGINT NOT NULL, 
	end_time_unix_nano BIGINT, 
	duration_ns BIGINT GENERATED ALWAYS AS (end_time_unix_nano - start_time_unix_nano) STORED, 
	content TEXT NOT NULL, 
	input_cost FLOAT, 
	output_cost FLOAT, 
	total_cost FLOAT, 
	model_name VARCHAR(500), 
	model_provider VARCHAR(500), 
	CONSTRAINT spans_pk PRIMARY KEY (trace_id, span_id), 
	CONSTRAINT fk_spans_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_spans_trace_id FOREIGN KEY(trace_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE sql_assessment_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	CONSTRAINT sql_assessment_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_span_cost_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	model_name VARCHAR(500), 
	model_provider VARCHAR(500), 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	CONSTRAINT sql_span_cost_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_trace_metric_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	trace_status VARCHAR(50), 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	p50_value FLOAT, 
	p90_value FLOAT, 
	p99_value FLOAT, 
	CONSTRAINT sql_trace_metric_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_trace_rollup_rebuild_queue (
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	rollup_family VARCHAR(50) NOT NULL, 
	CONSTRAINT sql_trace_rollup_rebuild_queue_pk PRIMARY KEY (experiment_id, rollup_day, rollup_family)
);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('mlflow.runName','tiny','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.user','root','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.role','study','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.study','tiny','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.identity','e291bb1abc3e4638ba03cda98d933dae','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.note.content','**tiny**:

**Best validation F1 0.1409** (pooled over pixels) in trial 0, run `88ed3d3fc2ff4842aee41bd08420dd7e`, registered as `tiny/1`.

| what a network has to beat | validation F1 | run |
|---|---|---|
| **registered**: trial 0 | 0.1409 | `88ed3d3fc2ff4842aee41bd08420dd7e` |
| logistic regression on single pixels | 0.5538 | `2db34d238ba449329b70e349e0cb08f7` |
| gradient boosting on single pixels | 0.4652 | `058d908d785748dd984c2043df6e1fd0` |
| NDVI and slope threshold | 0.5483 | `f50fe77415d44db98ad80681b8369d60` |

Trials: 2 complete.

| searched | in | best trial | explains |
|---|---|---|---|
| training.learning_rate | 0.0001 to 0.1 (log) | **0.001** | 100% |

*Explains*: share of the variance of F1 over the complete trials (fANOVA).

[all trials compared](#/experiments/1/runs?compareRunsMode=CHART&viewStateShareKey=d311d2106d68466ba2056600af97d7de&workflowType=machine_learning) · [the best side by side](#/compare-runs?runs=%5B%2288ed3d3fc2ff4842aee41bd08420dd7e%22%2C%227ea8e654bfe449bebba66065b6d90973%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning) · [the registered model''s run](#/experiments/1/runs/88ed3d3fc2ff4842aee41bd08420dd7e?workflowType=machine_learning)

Judge it on a test split, which no trial has seen:

    lsml evaluate --run-id 88ed3d3fc2ff4842aee41bd08420dd7e --baseline','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('mlflow.runName','tiny-000','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.user','root','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.role','trial','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.runColor','#1f77b4','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.note.content','training.learning_rate=0.001','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.parentRunId','d311d2106d68466ba2056600af97d7de','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.study','tiny','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.slot','0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.attempt','1','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.trial','0','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.state','complete','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.device','cpu','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.device_name','AMD EPYC','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.backend','tensorflow','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.precision','mixed_bfloat16','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.xla','off','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.keras','3.15.1','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.machine','vm','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('lsml.stopped','finished','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.loggedImages','True','88ed3d3fc2ff4842aee41bd08420dd7e');
INSERT INTO "tags" VALUES('mlflow.runName','tiny-001','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.user','root','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.role','trial','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.runColor','#ff7f0e','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.note.content','training.learning_rate=0.0003136','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.parentRunId','d311d2106d68466ba2056600af97d7de','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.study','tiny','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.slot','1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.attempt','1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.trial','1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.state','complete','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.device','cpu','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.device_name','AMD EPYC','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.backend','tensorflow','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.precision','mixed_bfloat16','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.xla','off','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.keras','3.15.1','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.machine','vm','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('lsml.stopped','finished','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.loggedImages','True','7ea8e654bfe449bebba66065b6d90973');
INSERT INTO "tags" VALUES('mlflow.runName','tiny-baseline-logistic-regression-on-single-pixels','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.user','root','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.role','baseline','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.runColor','#000000','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.note.content','','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.parentRunId','d311d2106d68466ba2056600af97d7de','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.study','tiny','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.slot','0','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.attempt','1','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.trial','0','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.state','complete','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.device','cpu','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.backend','scikit-learn 1.9.1','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.keras','3.15.1','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.machine','vm','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('lsml.stopped','finished','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.loggedImages','True','2db34d238ba449329b70e349e0cb08f7');
INSERT INTO "tags" VALUES('mlflow.runName','tiny-baseline-gradient-boosting-on-single-pixels','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.user','root','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.role','baseline','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.runColor','#555555','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.note.content','','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.parentRunId','d311d2106d68466ba2056600af97d7de','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.study','tiny','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.slot','1','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.attempt','1','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.trial','1','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.state','complete','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.device','cpu','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.backend','scikit-learn 1.9.1','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.keras','3.15.1','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.machine','vm','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('lsml.stopped','finished','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.loggedImages','True','058d908d785748dd984c2043df6e1fd0');
INSERT INTO "tags" VALUES('mlflow.runName','tiny-baseline-NDVI-and-slope-threshold','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.user','root','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.source.name','lsml','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.role','baseline','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.version','0.1.0','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.python','3.11.7','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.source.git.commit','6ca4805f092f33249e46e836fce92a9545c58337','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.data.root','@FOLDER@/data','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.data.source','official layout: train from TrainData/img, validation from ValidData/img','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.score.validation.split','the own split of synthetic patches','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.score.validation.patches','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.score.validation.averaging','pooled over pixels','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.score.validation.threshold','best F1 on these patches','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.data.train','fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.data.validation','8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.runColor','#8a8a8a','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.note.content','','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.parentRunId','d311d2106d68466ba2056600af97d7de','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.study','tiny','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.slot','2','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.attempt','1','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.trial','2','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.state','complete','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.device','cpu','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.backend','scikit-learn 1.9.1','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.keras','3.15.1','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.machine','vm','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.stopped','finished','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('mlflow.loggedImages','True','f50fe77415d44db98ad80681b8369d60');
INSERT INTO "tags" VALUES('lsml.best_run_id','88ed3d3fc2ff4842aee41bd08420dd7e','d311d2106d68466ba2056600af97d7de');
INSERT INTO "tags" VALUES('lsml.registered','tiny/1','d311d2106d68466ba2056600af97d7de');
CREATE TABLE "trace_info" (
	request_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	timestamp_ms BIGINT NOT NULL, 
	execution_time_ms BIGINT, 
	status VARCHAR(50) NOT NULL, 
	client_request_id VARCHAR(50), 
	request_preview VARCHAR(1000), 
	response_preview VARCHAR(1000), 
	db_payload_generation INTEGER DEFAULT '0' NOT NULL, trace_name VARCHAR(4096), session_id VARCHAR(250), input_tokens BIGINT, output_tokens BIGINT, total_tokens BIGINT, cache_read_input_tokens BIGINT, cache_creation_input_tokens BIGINT, cache_creation_input_tokens_above_1hr BIGINT, input_cost FLOAT, output_cost FLOAT, total_cost FLOAT, 
	CONSTRAINT trace_info_pk PRIMARY KEY (request_id), 
	CONSTRAINT fk_trace_info_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE trace_metrics (
	request_id VARCHAR(50) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT, 
	CONSTRAINT trace_metrics_pk PRIMARY KEY (request_id, "key"), 
	CONSTRAINT fk_trace_metrics_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE "trace_request_metadata" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_request_metadata_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_request_metadata_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE "trace_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_tag_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_tags_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE webhook_events (
	webhook_id VARCHAR(256) NOT NULL, 
	entity VARCHAR(50) NOT NULL, 
	action VARCHAR(50) NOT NULL, 
	CONSTRAINT webhook_event_pk PRIMARY KEY (webhook_id, entity, action), 
	FOREIGN KEY(webhook_id) REFERENCES webhooks (webhook_id) ON DELETE cascade
);
CREATE TABLE "webhooks" (
	webhook_id VARCHAR(256) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	description VARCHAR(1000), 
	url VARCHAR(500) NOT NULL, 
	status VARCHAR(20) DEFAULT 'ACTIVE' NOT NULL, 
	secret VARCHAR(1000), 
	creation_timestamp BIGINT, 
	last_updated_timestamp BIGINT, 
	deleted_timestamp BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT webhook_pk PRIMARY KEY (webhook_id)
);
CREATE TABLE workspaces (
	name VARCHAR(63) NOT NULL, 
	description TEXT, 
	default_artifact_root TEXT, trace_archival_location TEXT, trace_archival_retention VARCHAR(32), 
	CONSTRAINT workspaces_pk PRIMARY KEY (name)
);
INSERT INTO "workspaces" VALUES('default','Default workspace for legacy resources',NULL,NULL,NULL);
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_latest_metrics_run_uuid ON latest_metrics (run_uuid);
CREATE INDEX index_inputs_destination_type_destination_id_source_type ON inputs (destination_type, destination_id, source_type);
CREATE INDEX index_inputs_input_uuid ON inputs (input_uuid);
CREATE INDEX index_params_run_uuid ON params (run_uuid);
CREATE INDEX index_trace_tags_request_id ON trace_tags (request_id);
CREATE INDEX index_trace_request_metadata_request_id ON trace_request_metadata (request_id);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_datasets_experiment_id_dataset_source_type ON datasets (experiment_id, dataset_source_type);
CREATE INDEX index_datasets_dataset_uuid ON datasets (dataset_uuid);
CREATE INDEX index_logged_model_metrics_model_id ON logged_model_metrics (model_id);
CREATE INDEX index_entity_associations_association_id ON entity_associations (association_id);
CREATE INDEX index_entity_associations_reverse_lookup ON entity_associations (destination_type, destination_id, source_type, source_id);
CREATE INDEX idx_webhook_events_entity ON webhook_events (entity);
CREATE INDEX idx_webhook_events_action ON webhook_events (action);
CREATE INDEX idx_webhook_events_entity_action ON webhook_events (entity, action);
CREATE UNIQUE INDEX index_scorers_experiment_id_scorer_name ON scorers (experiment_id, scorer_name);
CREATE INDEX index_scorer_versions_scorer_id ON scorer_versions (scorer_id);
CREATE INDEX index_evaluation_dataset_tags_dataset_id ON evaluation_dataset_tags (dataset_id);
CREATE INDEX index_evaluation_dataset_records_dataset_id ON evaluation_dataset_records (dataset_id);
CREATE INDEX index_endpoint_model_mappings_endpoint_id ON endpoint_model_mappings (endpoint_id);
CREATE INDEX index_endpoint_model_mappings_model_definition_id ON endpoint_model_mappings (model_definition_id);
CREATE INDEX index_endpoint_tags_endpoint_id ON endpoint_tags (endpoint_id);
CREATE INDEX index_trace_metrics_request_id ON trace_metrics (request_id);
CREATE UNIQUE INDEX unique_endpoint_model_linkage_mapping ON endpoint_model_mappings (endpoint_id, model_definition_id, linkage_type);
CREATE INDEX index_span_metrics_trace_id_span_id ON span_metrics (trace_id, span_id);
CREATE INDEX index_evaluation_datasets_created_time ON evaluation_datasets (created_time);
CREATE INDEX index_evaluation_datasets_name ON evaluation_datasets (name);
CREATE INDEX idx_webhooks_name ON webhooks (name);
CREATE INDEX idx_webhooks_status ON webhooks (status);
CREATE TRIGGER prevent_secrets_aad_mutation
BEFORE UPDATE ON secrets
FOR EACH ROW
WHEN OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name
BEGIN
    SELECT RAISE(ABORT, 'secret_id and secret_name are immutable (used as AAD in encryption)');
END;
CREATE INDEX index_model_definitions_secret_id ON model_definitions (secret_id);
CREATE INDEX index_model_definitions_provider ON model_definitions (provider);
CREATE INDEX index_jobs_name_status_creation_time ON jobs (job_name, workspace, status, creation_time);
CREATE INDEX idx_experiments_workspace ON experiments (workspace);
CREATE INDEX idx_registered_models_workspace ON registered_models (workspace);
CREATE INDEX idx_experiments_workspace_creation_time ON experiments (workspace, creation_time);
CREATE INDEX idx_evaluation_datasets_workspace ON evaluation_datasets (workspace);
CREATE INDEX idx_webhooks_workspace ON webhooks (workspace);
CREATE INDEX idx_secrets_workspace ON secrets (workspace);
CREATE INDEX idx_endpoints_workspace ON endpoints (workspace);
CREATE INDEX idx_model_definitions_workspace ON model_definitions (workspace);
CREATE INDEX idx_budget_policies_workspace ON budget_policies (workspace);
CREATE INDEX index_issues_experiment_id ON issues (experiment_id);
CREATE INDEX index_issues_source_run_id ON issues (source_run_id);
CREATE INDEX index_issues_status ON issues (status);
CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, "key", step);
CREATE INDEX idx_guardrails_workspace ON guardrails (workspace);
CREATE INDEX idx_guardrails_scorer ON guardrails (scorer_id, scorer_version);
CREATE INDEX idx_guardrail_configs_endpoint_id ON guardrail_configs (endpoint_id);
CREATE INDEX idx_guardrail_configs_guardrail_id ON guardrail_configs (guardrail_id);
CREATE INDEX idx_model_version_tags_workspace_name_version ON model_version_tags (workspace, name, version);
CREATE INDEX idx_registered_model_tags_workspace_name ON registered_model_tags (workspace, name);
CREATE INDEX index_label_schemas_experiment_id ON label_schemas (experiment_id);
CREATE INDEX index_review_queues_experiment_id ON review_queues (experiment_id);
CREATE INDEX index_review_queue_users_user_id ON review_queue_users (user_id);
CREATE INDEX index_review_queue_items_queue_id_status ON review_queue_items (queue_id, status);
CREATE INDEX index_review_queue_items_item_id ON review_queue_items (item_id);
CREATE INDEX index_review_queue_label_schemas_schema_id ON review_queue_label_schemas (schema_id);
CREATE INDEX idx_mcp_server_versions_latest ON mcp_server_versions (workspace, name, status, version_major DESC, version_minor DESC, version_patch DESC);
CREATE INDEX ix_mcp_access_endpoints_server_name ON mcp_access_endpoints (workspace, server_name);
CREATE INDEX ix_mcp_access_endpoints_version ON mcp_access_endpoints (workspace, server_name, server_version);
CREATE INDEX ix_mcp_access_endpoints_alias ON mcp_access_endpoints (workspace, server_name, server_alias);
CREATE INDEX idx_budget_policies_target_value ON budget_policies (target_value);
CREATE INDEX index_trace_info_experiment_id_timestamp_ms ON trace_info (experiment_id, timestamp_ms);
CREATE INDEX index_trace_info_timestamp_ms_request_id ON trace_info (timestamp_ms, request_id);
CREATE INDEX index_assessments_trace_id_created_timestamp ON assessments (trace_id, created_timestamp);
CREATE INDEX index_assessments_last_updated_timestamp ON assessments (last_updated_timestamp);
CREATE INDEX index_assessments_assessment_type ON assessments (assessment_type);
CREATE INDEX index_assessments_run_id_created_timestamp ON assessments (run_id, created_timestamp);
CREATE INDEX index_spans_experiment_id_type_status ON spans (experiment_id, type, status);
CREATE INDEX index_spans_experiment_id_duration ON spans (experiment_id, duration_ns);
CREATE INDEX index_spans_experiment_id_status_type ON spans (experiment_id, status, type);
CREATE INDEX index_spans_experiment_id_start_time ON spans (experiment_id, start_time_unix_nano);
CREATE INDEX index_trace_info_experiment_id_session_id ON trace_info (experiment_id, session_id);
CREATE INDEX idx_trace_rollups_lookup ON sql_trace_metric_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set, trace_status);
CREATE INDEX idx_span_cost_rollups_lookup ON sql_span_cost_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set, model_name, model_provider);
CREATE INDEX idx_assessment_rollups_lookup ON sql_assessment_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set);
CREATE INDEX idx_spans_cost_trace_time_cover ON spans (trace_id, start_time_unix_nano);
CREATE INDEX idx_spans_cost_exp_time_cover ON spans (experiment_id, start_time_unix_nano);
CREATE INDEX idx_assessments_exp_trace_ts ON assessments (experiment_id, trace_timestamp_ms);
CREATE INDEX idx_assessments_exp_trace_ts_name ON assessments (experiment_id, trace_timestamp_ms, name);
CREATE INDEX idx_assessments_exp_name_valid ON assessments (experiment_id, name, valid);
CREATE INDEX index_job_locks_job_id ON job_locks (job_id);
CREATE INDEX index_jobs_status_lease_expires_at ON jobs (status, lease_expires_at);
COMMIT;
